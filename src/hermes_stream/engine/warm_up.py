"""What a first question would otherwise wait for, done before anybody asks.

Libraries load kernels and choose their ways at first calls; on CUDA the forwards of questions and decode steps are
recorded as graphs, and room is made for sessions, because recordings last until the arena of their rows grows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from hermes_stream.engine.answer import AnswerStream, AnswerTask
from hermes_stream.engine.choosing import choose_tokens
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.bucket import buckets_up_to
from hermes_stream.engine.graphs.static_forwards import Capture, StaticForwards, obstacle
from hermes_stream.engine.opening import commit_prefix, open_stream
from hermes_stream.engine.pending import Channel
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import ConfigError, LimitError
from hermes_stream.memory.arena import Arena
from hermes_stream.memory.slab import most_capacity
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Query

_QUESTION = "What is on the screen?"


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What was done. captures: of each recorded forward; without any, `reason` says why."""

    seconds: float
    captures: tuple[Capture, ...]
    reason: str = ""


def warm_up(adapter: Adapter, static: StaticForwards | None, question_tokens: int, sessions: int) -> WarmUp:
    """Run a question and a decode step, then record all that such questions of so many sessions need.

    Raises ConfigError for numbers below 1, LimitError if the rows of so many sessions do not fit.
    """
    if min(question_tokens, sessions) < 1:
        raise ConfigError(
            f"warm-up for questions of {question_tokens} tokens and {sessions} sessions; both must be at least 1"
        )
    start = time.perf_counter()
    stream = open_stream(adapter, parse_memory("keep-all"), chunk_frames=1, keep_raw=True, seed=0)
    commit_prefix(stream)
    _answer(stream)
    arena = stream.memory.current.layers[0].slab.arena
    if static is None or arena is None:
        return WarmUp(time.perf_counter() - start, (), obstacle(adapter))
    _reserve(adapter, arena, sessions)
    static.warm_up(arena, buckets_up_to(question_tokens, sessions))
    return WarmUp(time.perf_counter() - start, static.captures)


def _answer(stream: Stream) -> None:
    """The first two forwards of an answer."""
    query = Query(_QUESTION, max_new_tokens=2)
    asker = AnswerStream(query)
    task = AnswerTask(stream, query, Channel(asker))
    for _ in range(2):
        (token,) = choose_tokens([task], run_forward(stream.adapter, [task.segment()]))
        if isinstance(token, Exception):
            raise token
        if task.accept(token) is not None:
            return


def _reserve(adapter: Adapter, arena: Arena, sessions: int) -> None:
    """Room for sessions with the default budget at their most, one of them twice: a plan fills new rows from old."""
    facts, defaults = adapter.facts, adapter.defaults
    interval = -(-defaults.chunk_frames // facts.frames_per_grid) * facts.tokens_per_frame
    n_rows = most_capacity(facts.prefix_tokens + defaults.budget_tokens + interval)
    try:
        arena.reserve(n_rows * (sessions + 1), keep_raw=True)
        # Recordings also depend on the longest slab that there has been.
        arena.slab(0, n_rows, keep_raw=False)
    except torch.OutOfMemoryError as error:
        raise LimitError(
            f"the memories of {sessions} sessions, up to {n_rows} rows a layer each, do not fit on {facts.device}; "
            "warm up for fewer sessions"
        ) from error
