"""Seconds that mean something: the device's work included, caches warm, percentiles instead of means."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from hermes_stream.engine.engine import Engine
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.question import Question
from hermes_stream.engine.session import Session
from hermes_stream.types import Query

_T = TypeVar("_T")


def timed(function: Callable[[], _T], device: torch.device) -> tuple[_T, float]:
    """The function's result and its seconds, the device's work included."""
    wait_for(device)
    start = time.perf_counter()
    result = function()
    wait_for(device)
    return result, time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Return once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def percentile_ms(seconds: Sequence[float], percent: float) -> float:
    """A percentile in milliseconds, between neighbours in proportion; rounded to microseconds."""
    return round(1000 * float(np.percentile(seconds, percent)), 3)


@dataclass(frozen=True, slots=True)
class AskTimes:
    """One question. ttft_seconds: from asking to the first token. tpot_seconds: of each further token; None if none."""

    ttft_seconds: float
    tpot_seconds: float | None


def time_question(session: Session, query: Query) -> AskTimes:
    """Ask and wait for the whole answer, as a user would see it."""
    answer = session.ask(query)
    times = [event.seconds_since_ask for event in answer]
    ttft_seconds, n_more = answer.result().ttft_seconds, len(times) - 1
    return AskTimes(ttft_seconds, (times[-1] - times[0]) / n_more if n_more > 0 else None)


def preparation_seconds(engine: Engine, session: Session, query: Query) -> float:
    """What happens to a question before the forward that its answer begins with; part of its time to first token.

    Text to embeddings, a frame without a partner encoded, rows recalled, the pass with which the question chooses them.
    """
    adapter, device = session.stream.adapter, engine.model.device

    def prepare() -> None:
        question = Question(session.stream, query)
        if question.is_asking:
            run_forward(adapter, [question.segment])
            question.end_asking()

    return engine.call(session, lambda: timed(prepare, device)[1])
