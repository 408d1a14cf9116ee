"""Which rows of a stream with commentary stay once a round is over, and in which order: StreamingVLM's eviction.

Source: StreamingVLM, arXiv 2510.09608, and its released code (MIT). A pure decision about rounds and parts of rows; all
on the host. Shape letters: N rows, n those that stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from hermes_stream.memory.turns import Part, parts_of, rounds_of

_BLOCK = (Part.PREVIOUS_OPEN, Part.PREVIOUS_CLOSE)
_REPLY = (Part.REPLY_OPEN, Part.WORD, Part.SILENCE, Part.REPLY_CLOSE)


@dataclass(frozen=True, slots=True)
class Windows:
    """What is held while the next round is spoken.

    vision, text: rounds whose frames, and whose reply and time, stay where they are, that next one included.
    head, tail: words of the previous text that stay, its first and its last ones.
    """

    vision: int
    text: int
    head: int
    tail: int

    def smaller(self) -> Iterator[Windows]:
        """These, then ever smaller ones: vision goes first, then replies move, then the previous text goes."""
        for vision in range(self.vision, 0, -1):
            yield replace(self, vision=vision)
        for text in range(self.text - 1, 0, -1):
            yield replace(self, vision=1, text=text)
        yield replace(self, vision=1, text=1, head=0, tail=0)


class Rounds:
    """The rows of a stream with commentary between two rounds."""

    def __init__(self, turn_N: torch.Tensor, *, strips_last: bool) -> None:
        """turn_N: of each row, on the host. strips_last: the last token of a reply without its marker does not move
        to the previous text either, as in the release.
        """
        self._part_N, self._round_N = parts_of(turn_N), rounds_of(turn_N)
        self._age_N = int(self._round_N.max()) + 1 - self._round_N
        self._strips_last = strips_last

    def stay(self, windows: Windows) -> torch.Tensor:
        """Rows that stay: int64 `[n]`, in the order in which they stand from then on."""
        rest_N = self._is_in_place(windows)
        open_N, close_N = (self._part_N == part for part in _BLOCK)
        words_N = self._moved_words(windows)
        if words_N.numel() > windows.head + windows.tail:
            words_N = torch.cat((words_N[: windows.head], words_N[words_N.numel() - windows.tail :]))
        return torch.cat((_rows(open_N), words_N, _rows(close_N), _rows(rest_N)))

    def n_frame_rows(self, windows: Windows) -> int:
        """How many of them are frames."""
        return int(((self._part_N == Part.FRAMES) & (self._age_N < windows.vision)).sum())

    def _is_in_place(self, windows: Windows) -> torch.Tensor:
        part_N, age_N = self._part_N, self._age_N
        longest = max(windows.vision, windows.text)
        is_user_N = (part_N == Part.USER_OPEN) | (part_N == Part.USER_CLOSE)
        is_text_N = (part_N == Part.TIME) | _is_one_of(part_N, _REPLY)
        return (
            (is_user_N & (age_N < longest))
            | (is_text_N & (age_N < windows.text))
            | ((part_N == Part.FRAMES) & (age_N < windows.vision))
        )

    def _moved_words(self, windows: Windows) -> torch.Tensor:
        """Words of the previous text and those that move to its end, as they follow each other."""
        part_N = self._part_N
        is_word_N = (part_N == Part.PREVIOUS_WORD) | ((part_N == Part.WORD) & (self._age_N >= windows.text))
        if self._strips_last:
            is_word_N[self._last_of_cut_replies(windows)] = False
        return _rows(is_word_N)

    def _last_of_cut_replies(self, windows: Windows) -> list[int]:
        """The last word of each reply that moves now and has no marker."""
        is_moving_N = (self._part_N == Part.REPLY_OPEN) & (self._age_N >= windows.text)
        last = []
        for number in self._round_N[is_moving_N].unique().tolist():
            is_mine_N = self._round_N == number
            words_N = _rows(is_mine_N & (self._part_N == Part.WORD))
            if words_N.numel() and not bool((is_mine_N & (self._part_N == Part.SILENCE)).any()):
                last.append(int(words_N[-1]))
        return last


def _rows(mask_N: torch.Tensor) -> torch.Tensor:
    return mask_N.nonzero()[:, 0]


def _is_one_of(part_N: torch.Tensor, parts: tuple[Part, ...]) -> torch.Tensor:
    return torch.isin(part_N, torch.tensor(parts))
