"""What a question looks at: its attention to every held token, without an answer.

Shape letters: H query heads, N held tokens (prefix first).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hermes_stream.engine.batch import PackedBatch
from hermes_stream.engine.question import Question
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.types import Query


@dataclass(frozen=True, slots=True, eq=False)
class QuestionAttention:
    """The attention that a question pays to a version of a memory.

    tables: for each layer, what the rows are that the question sees: prefix, what it recalls, what is held.
    by_layer: for each layer `[H, N]`, float32 at least, rows as in its table: the softmax weights of the question's
    tokens (its template included), mean over the tokens. What is missing to 1 went to the question itself, and to
    frames that only its own tail holds.
    """

    version: MemoryVersion
    tables: tuple[TokenTable, ...]
    by_layer: tuple[torch.Tensor, ...]


def question_attention(stream: Stream, query: Query) -> QuestionAttention:
    """Run a question's first forward and throw its rows away; on the engine's thread, between two forwards.

    What it recalls is chosen in a forward before. Raises LimitError if the question does not fit the positions left.
    """
    question, adapter = Question(stream, query), stream.adapter
    if question.is_asking:
        adapter.run(PackedBatch([question.segment], adapter.rope))
        question.end_asking()
    question.segment.n_read = question.n_tokens
    adapter.run(PackedBatch([question.segment], adapter.rope))
    layers = range(adapter.facts.n_layers)
    tables = tuple(question.table(index) for index in layers)
    weights = [question.segment.attention[index][:, : table.n_tokens] for index, table in enumerate(tables)]
    return QuestionAttention(question.tail.base, tables, tuple(weights))
