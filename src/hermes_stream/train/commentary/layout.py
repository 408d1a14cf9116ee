"""One chunk as the text model reads it: ids, labels, positions.

Opening and instruction, previous text, then for each second a user turn with its frames and an assistant turn with its
words and the silence marker. Only replies are learnt, from behind the assistant's header to the end of the turn.
Shape letters: T tokens, R position axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from hermes_stream.errors import ConfigError
from hermes_stream.models.commentary import CommentaryPrompts, stand_at
from hermes_stream.train.commentary.inputs import RoundFrames
from hermes_stream.train.commentary.records import AskedMidway, Record

NO_LABEL = -100
STEP_SECONDS = 1.0
_SLACK_SECONDS = 1e-6
_N_KNOWN_TEXTS = 65536


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How many tokens of the previous text stay: the first and the newest; the middle goes where there are more."""

    head_tokens: int = 512
    tail_tokens: int = 512

    def __post_init__(self) -> None:
        if min(self.head_tokens, self.tail_tokens) < 0:
            raise ConfigError(f"limits of the previous text are {self}; give numbers from 0 on")

    def shorten(self, ids: Sequence[int]) -> list[int]:
        """The ids that stay."""
        if len(ids) <= self.head_tokens + self.tail_tokens:
            return list(ids)
        return [*ids[: self.head_tokens], *ids[len(ids) - self.tail_tokens :]]


@dataclass(frozen=True, eq=False)
class LaidOut:
    """ids_T and label_T: int64 `[T]`, labels `NO_LABEL` where nothing is learnt. position_RT: int64."""

    ids_T: torch.Tensor
    label_T: torch.Tensor
    position_RT: torch.Tensor


class Words:
    """Ids of texts by one tokenizer; what was asked before is remembered, because commentary repeats itself."""

    def __init__(self, tokenizer: Any) -> None:
        self._ids = lru_cache(_N_KNOWN_TEXTS)(
            lambda text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        )

    def __call__(self, text: str) -> tuple[int, ...]:
        return self._ids(text) if text else ()


class ChunkLayout:
    """Lays out records with one family's strings, by one tokenizer."""

    def __init__(self, prompts: CommentaryPrompts, token_ids: Words, limits: TextLimits, n_axes: int) -> None:
        self._prompts = prompts
        self._ids = token_ids
        self._limits = limits
        self._n_axes = n_axes

    def __call__(self, record: Record, rounds: Sequence[RoundFrames]) -> LaidOut:
        """rounds: the frames of each second of the record."""
        writer = _Writer(self._n_axes)
        writer.text(self._ids(self._prompts.opening(record.query)))
        writer.text(self._previous(record.previous))
        replies = list(self._replies(record, len(rounds)))
        for index, (frames, (question, reply)) in enumerate(zip(rounds, replies, strict=True)):
            start = record.start_seconds + index * STEP_SECONDS
            before = self._prompts.before_frames(start, start + STEP_SECONDS)
            writer.text([*(self._ids(self._prompts.turn_end) if index else ()), *self._ids(before)])
            writer.frames(frames)
            writer.text(self._ids(self._prompts.after_frames(question)))
            writer.text(reply, is_learnt=True)
        return writer.finish()

    def _previous(self, words: str) -> list[int]:
        ids = self._limits.shorten(self._spoken(words.split()))
        return [*self._ids(self._prompts.previous_open), *ids, *self._ids(self._prompts.previous_close)]

    def _spoken(self, words: Sequence[str]) -> list[int]:
        return [token for word in words for token in self._ids(self._prompts.spoken(word))]

    def _replies(self, record: Record, n_rounds: int) -> Iterator[tuple[str, list[int]]]:
        """The question of each second, if there is one, and the reply's ids."""
        ending = [*self._ids(self._prompts.silence), *self._ids(self._prompts.turn_close)]
        words, asked = list(record.words), list(record.asked)
        for index in range(n_rounds):
            end = record.start_seconds + (index + 1) * STEP_SECONDS + _SLACK_SECONDS
            said = []
            while words and words[0].end_seconds <= end:
                said.append(words.pop(0).text)
            question = asked.pop(0) if asked and asked[0].time_seconds <= end else None
            yield "" if question is None else question.question, [*self._answer(question), *self._spoken(said), *ending]

    def _answer(self, asked: AskedMidway | None) -> list[int]:
        return [] if asked is None else [*self._ids(asked.answer), *self._ids(self._prompts.answer_close)]


class _Writer:
    """Text and frames one behind the other: what follows stands one behind the largest position before it."""

    def __init__(self, n_axes: int) -> None:
        self._n_axes = n_axes
        self._ids: list[int] = []
        self._labels: list[int] = []
        self._positions: list[torch.Tensor] = []
        self._next = 0

    def text(self, ids: Sequence[int], *, is_learnt: bool = False) -> None:
        self._ids += ids
        self._labels += ids if is_learnt else [NO_LABEL] * len(ids)
        self._positions.append(torch.arange(self._next, self._next + len(ids)).expand(self._n_axes, -1))
        self._next += len(ids)

    def frames(self, frames: RoundFrames) -> None:
        position_RN = stand_at(frames.position_RN, self._next)
        self._ids += frames.ids
        self._labels += [NO_LABEL] * len(frames.ids)
        self._positions.append(position_RN)
        self._next = int(position_RN.max()) + 1

    def finish(self) -> LaidOut:
        return LaidOut(torch.tensor(self._ids), torch.tensor(self._labels), torch.cat(self._positions, dim=1))
