"""One question on its way to an answer: the engine's half and the asker's half.

Shape letters: V vocabulary.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Literal

import torch

from hermes_stream.engine.batch import TailSegment
from hermes_stream.engine.decode import Sampler, TextStream
from hermes_stream.engine.evidence import choosing_segment, evidence_layers, find_evidence
from hermes_stream.engine.pending import Channel, Pending
from hermes_stream.engine.question import Question
from hermes_stream.engine.stop_texts import StopTexts
from hermes_stream.engine.stream import Stream
from hermes_stream.engine.token_segment import TokenSegment
from hermes_stream.types import Answer, Query, TokenEvent


class AnswerStream(Pending[TokenEvent, Answer], Iterator[TokenEvent], AsyncIterator[TokenEvent]):
    """The asker's half: iterate over tokens as they come, with `for` or `async for`, or wait for the whole answer.

    Who iterates at the same time shares the tokens. Raises what went wrong in the engine; nothing where it was
    cancelled.
    """

    def __next__(self) -> TokenEvent:
        event = self._delivery.take()
        if event is None:
            self._raise_failure()
            raise StopIteration
        return event

    async def __anext__(self) -> TokenEvent:
        event = await self._atake()
        if event is None:
            self._raise_failure()
            raise StopAsyncIteration
        return event

    def _raise_failure(self) -> None:
        outcome = self._delivery.outcome
        if isinstance(outcome, BaseException) and not self._cancelled.is_set():
            raise outcome


class AnswerTask:
    """The engine's half: a question, then a token per forward, then one forward more where evidence is wanted.

    text: the answer so far.
    """

    def __init__(self, stream: Stream, query: Query, channel: Channel[TokenEvent, Answer]) -> None:
        """Pins what the stream has seen by now. Raises LimitError if the question does not fit the positions left."""
        self.question = self._question(stream, query)
        self.query = query
        self._channel = channel
        self._adapter = stream.adapter
        self._sampler = Sampler(query, stream.adapter.facts.device)
        self._pieces = TextStream(stream.adapter.tokenizer)
        self._text = StopTexts((*query.stop, *self._stop_texts(stream)))
        self._token_ids: list[int] = []
        self._following: TailSegment | None = None
        self._complete: Answer | None = None
        self._ttft_seconds = 0.0

    def _question(self, stream: Stream, query: Query) -> Question:
        """What it answers."""
        return Question(stream, query)

    def _stop_texts(self, stream: Stream) -> tuple[str, ...]:
        """Besides those of the query. Between rounds of a commentary answers are one line, and words may follow."""
        prompts = stream.adapter.commentary
        return () if stream.commentary is None else (prompts.answer_close, prompts.silence)

    @property
    def n_rows_at_most(self) -> int:
        return self.question.n_rows + self.query.max_new_tokens

    @property
    def text(self) -> str:
        return self._text.text.strip()

    @property
    def has_begun(self) -> bool:
        return bool(self._token_ids)

    def segment(self) -> TailSegment:
        return self._following or self.question.segment

    def choose(self, logits_V: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        if self.question.is_asking or self._complete is not None or self._sampler.takes_largest:
            return largest
        return self._sampler.choose(logits_V)

    def accept(self, token_id: int) -> Answer | None:
        """Take the token that was chosen and send it; returns the answer if it is finished.

        After the question's own pass there is none to take, and the answer begins; nor after its last token.
        """
        if self.question.is_asking:
            self.question.end_asking()
            return None
        if self._complete is not None:
            evidence = find_evidence(self.question, self.segment(), self.query.evidence)
            return replace(self._complete, evidence=evidence)
        return self._take(token_id)

    def _take(self, token_id: int) -> Answer | None:
        tail = self.question.tail
        tail.n_rows += self.segment().n_rows
        seconds = self._channel.seconds_since_ask()
        if not self._token_ids:
            self._ttft_seconds = seconds
        self._token_ids.append(token_id)
        is_stop = token_id in self._adapter.stop_token_ids
        piece = "" if is_stop else self._text.push(self._pieces.push(token_id))
        has_ended = is_stop or self._text.is_hit
        is_last = has_ended or len(self._token_ids) >= self.query.max_new_tokens or self.question.room < 1
        if is_last:
            piece += self._text.push(self._pieces.finish()) + self._text.finish()
        if piece or not is_stop:
            self._channel.put(TokenEvent(token_id, piece, seconds))
        if is_last:
            said = self._token_ids[:-1] if is_stop else self._token_ids
            return self._end(said, "stop" if has_ended else "length")
        self._following = TokenSegment(self._adapter, token_id, tail.next_position, tail)
        tail.next_position += 1
        return None

    def _end(self, said: list[int], finish_reason: Literal["stop", "length"]) -> Answer | None:
        """The answer, or None if its evidence is to be found yet. said: its tokens, but for one that ended it."""
        answer = self._answer(finish_reason)
        if not self.query.evidence:
            return answer
        self._complete = answer
        self._following = choosing_segment(self.question, said, evidence_layers(self._adapter.facts.n_layers))
        return None

    def _answer(self, finish_reason: Literal["stop", "length"]) -> Answer:
        question = self.question
        return Answer(
            text=self.text,
            token_ids=tuple(self._token_ids),
            time_seconds=question.time_seconds,
            ttft_seconds=self._ttft_seconds,
            total_seconds=self._channel.seconds_since_ask(),
            frames_seen=question.frames_seen,
            held_tokens=question.held_tokens,
            memory_bytes=question.memory_bytes,
            archive_bytes=question.archive_bytes,
            finish_reason=finish_reason,
            n_prompt_tokens=question.n_rows,
        )
