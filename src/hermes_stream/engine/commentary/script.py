"""The text of a stream with commentary, as token ids with the part that each belongs to.

Strings are tokenised piece by piece, as in training. Shape letters: N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hermes_stream.engine.commentary.state import Commentary
from hermes_stream.memory.turns import Part, turns_of
from hermes_stream.memory.upload import upload
from hermes_stream.models.adapter import Adapter
from hermes_stream.types import Query

# For how many tokens a time may take: three years.
_LONGEST_SECONDS = 99_999_999.9


@dataclass(frozen=True, slots=True)
class Labelled:
    """Token ids, run by run, with the parts of a round that they are."""

    runs: tuple[tuple[Part, tuple[int, ...]], ...]

    @property
    def ids(self) -> list[int]:
        return [token_id for _, ids in self.runs for token_id in ids]

    @property
    def lengths(self) -> list[tuple[Part, int]]:
        return [(part, len(ids)) for part, ids in self.runs]

    def turn_N(self, round_index: int) -> torch.Tensor:
        """int64, as the token table wants it."""
        return turns_of(round_index, self.lengths)


class Script:
    """One checkpoint's strings."""

    def __init__(self, adapter: Adapter) -> None:
        self._prompts, self._adapter = adapter.commentary, adapter

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._adapter.token_ids(text)) if text else ()

    def opening(self, commentary: Commentary, *, pins_instruction: bool) -> list[int]:
        """What stands before everything that may leave."""
        return list(self._ids(self._prompts.opening(commentary.settings.instruction if pins_instruction else "")))

    def previous(self, words: str) -> Labelled:
        """The block of words whose rounds are gone."""
        spoken = tuple(token for word in words.split() for token in self._ids(self._prompts.spoken(word)))
        return Labelled(
            (
                (Part.PREVIOUS_OPEN, self._ids(self._prompts.previous_open)),
                (Part.PREVIOUS_WORD, spoken),
                (Part.PREVIOUS_CLOSE, self._ids(self._prompts.previous_close)),
            )
        )

    def before_frames(self, start_seconds: float, end_seconds: float) -> Labelled:
        """The user's turn up to the round's frames."""
        return Labelled(
            (
                (Part.USER_OPEN, self._ids(self._prompts.user_open)),
                (Part.TIME, self._ids(self._prompts.time.format(start=start_seconds, end=end_seconds))),
                (Part.FRAMES, self._ids(self._prompts.vision_open)),
            )
        )

    def after_frames(self, question: str = "") -> Labelled:
        """What ends the frames, and what stays asked in this turn."""
        asked = self._ids(self._prompts.question.format(text=question)) if question else ()
        return Labelled(((Part.FRAMES, self._ids(self._prompts.vision_close)), (Part.USER_CLOSE, asked)))

    def reply(self, said: Sequence[int] | None) -> Labelled:
        """From the end of the user's turn to the next one. said: with its silence marker if one came; None: silence."""
        marker = self._ids(self._prompts.silence)
        words, has_marker = tuple(said or ()), said is None
        if said is not None and words[len(words) - len(marker) :] == marker:
            words, has_marker = words[: len(words) - len(marker)], True
        return Labelled(
            (
                (Part.USER_CLOSE, self._ids(self._prompts.user_close)),
                (Part.REPLY_OPEN, self._ids(self._prompts.assistant_open)),
                (Part.WORD, words),
                (Part.SILENCE, marker if has_marker else ()),
                (Part.REPLY_CLOSE, self._ids(self._prompts.turn_close) + self._ids(self._prompts.turn_end)),
            )
        )

    def rows_of_round(self, n_said: int) -> int:
        """The most text that a round brings in which so many tokens are said."""
        user = [*self.before_frames(_LONGEST_SECONDS, _LONGEST_SECONDS).ids, *self.after_frames().ids]
        return len(user) + len(self.reply(()).ids) + max(n_said, len(self._ids(self._prompts.silence)))

    def speaking(self) -> list[int]:
        """From an open user's turn to the first word."""
        return [*self._ids(self._prompts.user_close), *self._ids(self._prompts.assistant_open)]

    def asking(self, commentary: Commentary, query: Query) -> list[int]:
        """A question up to its answer: in the user's turn if that is open, else in one of its own."""
        user_open, turn_close = self._ids(self._prompts.user_open), self._ids(self._prompts.turn_close)
        ids = [] if commentary.is_open else list(user_open)
        for turn in query.turns:
            answered = [*self._ids(turn.answer), *turn_close, *self._ids(self._prompts.turn_end)]
            ids += [*self._asked(turn.question), *self.speaking(), *answered, *user_open]
        return [*ids, *self._asked(query.prompt), *self.speaking(), *self._ids(query.answer_start)]

    def _asked(self, text: str) -> list[int]:
        return list(self._ids(self._prompts.question.format(text=text)))


def embed_ids(adapter: Adapter, ids: Sequence[int]) -> torch.Tensor:
    """Embeddings `[N, E]`."""
    return adapter.tokens(upload(torch.tensor(ids, dtype=torch.int64), adapter.facts.device))
