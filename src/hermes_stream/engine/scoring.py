"""How probable the model finds given answers: one forward of a question, and no decoding.

Shape letters: C choices, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Never

import torch

from hermes_stream.engine.batch import TailSegment
from hermes_stream.engine.pending import Channel, Pending
from hermes_stream.engine.question import Question
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import UsageError
from hermes_stream.memory.upload import upload
from hermes_stream.types import Query, Scores

YES_NO = ("yes", "no")


class PendingScores(Pending[Never, Scores]):
    """Scores that were asked for: wait for them with `result()` or `await aresult()`."""


class ScoreTask:
    """The engine's half: a question, and what its answer's first token tells of each choice."""

    def __init__(self, stream: Stream, query: Query, choices: tuple[str, ...], channel: Channel[Never, Scores]) -> None:
        """Pins what the stream has seen by now.

        Raises LimitError if the question does not fit the positions left, UsageError for choices that no first token
        tells apart.
        """
        device, tokens = stream.adapter.facts.device, first_tokens(stream.adapter.token_ids, choices)
        self.question = Question(stream, query)
        self._choices, self._channel = choices, channel
        self._token_ids = [upload(torch.tensor(ids), device) for ids in tokens]
        self._log_C = torch.empty(0)

    @property
    def n_rows_at_most(self) -> int:
        return self.question.n_rows

    @property
    def has_begun(self) -> bool:
        return False

    def segment(self) -> TailSegment:
        return self.question.segment

    def choose(self, logits_V: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        """Whatever is the largest; what the logits say of the choices stays on the device."""
        if self.question.is_asking:
            return largest
        log_V = logits_V.to(torch.promote_types(logits_V.dtype, torch.float32)).log_softmax(dim=-1)
        self._log_C = torch.stack([log_V[ids].logsumexp(dim=-1) for ids in self._token_ids])
        return largest

    def accept(self, token_id: int) -> Scores | None:  # noqa: ARG002
        """The scores, or None after the question's own pass."""
        if self.question.is_asking:
            self.question.end_asking()
            return None
        log_C = self._log_C.double().cpu()
        return Scores(
            choices=self._choices,
            probabilities=tuple(log_C.softmax(dim=-1).tolist()),
            share=float(log_C.logsumexp(dim=-1).exp()),
            time_seconds=self.question.time_seconds,
            seconds=self._channel.seconds_since_ask(),
        )


def check_choices(choices: Sequence[str]) -> tuple[str, ...]:
    """The choices as they are kept. Raises UsageError for what is not several texts."""
    if isinstance(choices, str) or len(choices) < 2 or not all(choice.strip() for choice in choices):
        raise UsageError(f"the choices are {choices!r}; expected 2 texts or more, such as ('yes', 'no')")
    return tuple(choices)


def first_tokens(token_ids: Callable[[str], Sequence[int]], choices: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The tokens with which an answer begins if it is each of the choices, and none of the others.

    A choice may be written as given or with a capital, with or without a space before it; whichever first token some
    other choice shares tells nothing and is left out. Raises UsageError where a choice has none of its own.
    """
    first = [_first_tokens(token_ids, choice) for choice in choices]
    own = []
    for index, choice in enumerate(choices):
        others = [ids for other, ids in enumerate(first) if other != index]
        own.append(tuple(sorted(first[index].difference(*others))))
        if not own[-1]:
            rivals = [choices[other] for other, ids in enumerate(first) if other != index and ids & first[index]]
            raise UsageError(
                f"the choices {choice!r} and {rivals[0]!r} begin with the same token, and only the first is looked at; "
                "give words that differ there, or a query with options"
            )
    return tuple(own)


def _first_tokens(token_ids: Callable[[str], Sequence[int]], choice: str) -> set[int]:
    word = choice.strip()
    # Where a tokenizer lets a space stand alone, it says nothing of what follows.
    spaces = set(token_ids(" "))
    forms = [f"{before}{form}" for before in ("", " ") for form in (word, word[:1].upper() + word[1:])]
    return {token_ids(form)[0] for form in forms} - spaces
