"""What a question looks at: its attention to every held token, without an answer.

Shape letters: H query heads, N held tokens (prefix first).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hermes_stream.engine.answer import AnswerChannel, AnswerStream, AnswerTask
from hermes_stream.engine.batch import PackedBatch
from hermes_stream.engine.ingest import Stream
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.types import Query


@dataclass(frozen=True, slots=True, eq=False)
class QuestionAttention:
    """The attention that a question pays to a version of a memory.

    by_layer: for each layer `[H, N]`, float32 at least, rows as in `version.layers[layer].table`: the softmax weights
    of the question's tokens (its template included), mean over the tokens. What is missing to 1 went to the question
    itself, and to frames that only its own tail holds.
    """

    version: MemoryVersion
    by_layer: tuple[torch.Tensor, ...]


def question_attention(stream: Stream, query: Query) -> QuestionAttention:
    """Run a question's first forward and throw its rows away; on the engine's thread, between two forwards.

    Raises LimitError if the question does not fit the positions left.
    """
    task = AnswerTask(stream, query, AnswerChannel(AnswerStream(query)))
    segment = task.segment()
    segment.n_read = task.n_question_tokens
    stream.adapter.run(PackedBatch([segment], stream.adapter.rope))
    version = segment.tail.base
    return QuestionAttention(version, tuple(segment.attention[layer] for layer in range(len(version.layers))))
