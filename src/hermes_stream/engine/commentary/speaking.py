"""The words of a round: decoded like an answer, and kept by the stream until they become memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from hermes_stream.engine.answer import AnswerTask
from hermes_stream.engine.commentary.script import Script, embed_ids
from hermes_stream.engine.pending import Channel
from hermes_stream.engine.question import Question
from hermes_stream.engine.stream import Stream
from hermes_stream.types import Answer, Query, TokenEvent


class _OpenRound(Question):
    """Nothing is asked: the tail opens the reply to the newest frames."""

    def _text(self) -> torch.Tensor:
        return embed_ids(self.adapter, Script(self.adapter).speaking())


class SpeakTask(AnswerTask):
    """The engine's half: a token per forward until the turn ends, or the round's budget does.

    The answer's text is the words, without the silence marker. What was said is the stream's once the last token is
    out, unless frames were forgotten meanwhile.
    """

    def __init__(self, stream: Stream, query: Query, channel: Channel[TokenEvent, Answer]) -> None:
        super().__init__(stream, query, channel)
        self._stream, self._begun = stream, stream.commentary

    def _question(self, stream: Stream, query: Query) -> Question:
        return _OpenRound(stream, query)

    def _stop_texts(self, stream: Stream) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def _end(self, said: list[int], finish_reason: Literal["stop", "length"]) -> Answer | None:
        answer = super()._end(said, finish_reason)
        if self._begun is not None and self._stream.commentary is self._begun:
            # Who ends a turn at once has said nothing, and silence has a marker.
            self._stream.commentary = replace(self._begun, reply=tuple(said) or None)
        return None if answer is None else replace(answer, text=self._adapter.commentary.words_of(self.text))
