"""Many streams of one engine, each with a full memory and at another place of its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from hermes_stream.bench.encoding import BenchAdapter, endless
from hermes_stream.bench.full import fill
from hermes_stream.bench.latency import QUESTION_TOKENS
from hermes_stream.bench.pictures import pictures
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.models.adapter import Adapter
from hermes_stream.types import Frame

_N_PICTURES = 16
# Of a live stream: one frame that is next, and one that comes meanwhile. Who is further behind does not keep up.
_MAX_WAITING_FRAMES = 2


@dataclass
class LiveStream:
    """A session and the camera in front of it, which shows the same pictures over and over."""

    session: Session
    shown: Sequence[NDArray[np.uint8]]
    step_seconds: float
    seconds: float

    def next_frames(self, n: int) -> list[Frame]:
        """The frames that come next; every one has to be encoded."""
        start, self.seconds = self.seconds, self.seconds + n * self.step_seconds
        times = (start + index * self.step_seconds for index in range(n))
        return [Frame(seconds, self.shown[int(seconds) % len(self.shown)]) for seconds in times]


class Crowds:
    """Any number of streams like one that was filled once: forks, with rows of their own as soon as they write."""

    def __init__(self, engine: Engine, full: Session, known: Sequence[NDArray[np.uint8]], fps: float) -> None:
        self.engine = engine
        self._full, self._known, self._fps = full, known, fps
        # Copies, because the pictures that filled the memory need not be encoded again.
        self._shown = [picture.copy() for picture in known]

    @contextmanager
    def of(self, n: int) -> Iterator[list[LiveStream]]:
        """So many streams, closed at the end. Raises LimitError where there is no room for them."""
        self.engine.warm_up(questions=QUESTION_TOKENS, sessions=n)
        with ExitStack() as stack:
            streams = []
            for index in range(n):
                session = stack.enter_context(self._full.fork())
                start = session.stats.frames_seen
                # Otherwise all would compress their memories at the same moment.
                n_ahead = self.engine.model.frames_per_grid * index % session.chunk_frames
                session.watch(endless(self._known, start, start + n_ahead))
                streams.append(LiveStream(session, self._shown, 1 / self._fps, float(start + n_ahead)))
            yield streams


@contextmanager
def crowds(adapter: Adapter, memory: str, *, budget: str | None, chunk: int | None, fps: float) -> Iterator[Crowds]:
    """An engine and a full memory, of which crowds can be made. fps: of the cameras.

    Raises PolicyError or ConfigError for a memory that cannot work with the model.
    """
    known = pictures(_N_PICTURES)
    with (
        Engine(cast(Adapter, BenchAdapter(adapter, known))) as engine,
        engine.open(memory, budget=budget, chunk=chunk, max_waiting_frames=_MAX_WAITING_FRAMES) as full,
    ):
        fill(engine, full, known)
        yield Crowds(engine, full, known, fps)
