"""Keeping up with a source that does not wait: what of its steps is spoken about, watched in silence, or not watched.

Silence comes first: while a step waits, those before it are watched without a word. Where watching alone is too slow,
the oldest steps that wait are dropped. The lag so never passes a few steps.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from hermes_stream.engine.commentary.steps import in_steps
from hermes_stream.errors import ConfigError
from hermes_stream.types import Frame

# Steps over which rates are means.
_WINDOW = 30


@dataclass(frozen=True, slots=True)
class Due:
    """A step whose frames are there. arrived: when they were. waits_behind: whether the next step is there, too."""

    step: int
    frames: list[Frame]
    arrived: float
    waits_behind: bool = False


class StepQueue:
    """Steps of a source, read on a thread of their own; at most `most_waiting` of them wait, the newest ones.

    n_dropped: frames of steps that were dropped. What the source raises is raised by `take`, behind its last step.
    """

    def __init__(self, frames: Iterable[Frame], step_seconds: float, most_waiting: int) -> None:
        """Raises ConfigError if no step may wait."""
        if most_waiting < 1:
            raise ConfigError(f"most_waiting is {most_waiting}; at least 1 step must be able to wait")
        self.n_dropped = 0
        self._frames, self._step_seconds, self._most_waiting = frames, step_seconds, most_waiting
        self._steps: deque[Due] = deque()
        self._changed = threading.Condition()
        self._is_ended = self._is_stopped = False
        self._error: BaseException | None = None
        threading.Thread(target=self._read, name="hermes-steps", daemon=True).start()

    def take(self) -> Due | None:
        """The oldest step that waits, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._steps or self._is_ended)
            if not self._steps:
                if self._error is not None:
                    raise self._error
                return None
            due = self._steps.popleft()
            return Due(due.step, due.frames, due.arrived, waits_behind=bool(self._steps))

    def stop(self) -> None:
        """Read no further than the step that is being read."""
        self._is_stopped = True

    def _read(self) -> None:
        try:
            for step, shown in in_steps(self._frames, self._step_seconds):
                if self._is_stopped:
                    break
                self._put(Due(step, shown, time.monotonic()))
        except BaseException as error:  # it is the taker's to handle
            self._error = error
        with self._changed:
            self._is_ended = True
            self._changed.notify()

    def _put(self, due: Due) -> None:
        with self._changed:
            self._steps.append(due)
            while len(self._steps) > self._most_waiting:
                self.n_dropped += len(self._steps.popleft().frames)
            self._changed.notify()


@dataclass(frozen=True, slots=True)
class Pulse:
    """How a commentary keeps up, over its last steps.

    available_per_second: tokens that can be decoded in a second; None before the first. needed_per_second: that are
    said, per second of video. lag_seconds: from when the newest step's frames were there to its last word.
    n_spoken, n_skipped: steps that were spoken about or watched in silence to keep up, since the beginning; n_dropped:
    frames that were never watched.
    """

    available_per_second: float | None
    needed_per_second: float
    lag_seconds: float
    n_spoken: int
    n_skipped: int
    n_dropped: int


class PulseMeter:
    """Counts steps as they come."""

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._newest: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._lag_seconds = 0.0
        self._n_spoken = self._n_skipped = 0

    def count(self, n_tokens: int, speaking_seconds: float, lag_seconds: float, *, was_skipped: bool) -> None:
        """One step; speaking_seconds: that its tokens took."""
        self._newest.append((n_tokens, speaking_seconds))
        self._lag_seconds = lag_seconds
        self._n_skipped += was_skipped
        self._n_spoken += not was_skipped

    def pulse(self, n_dropped: int) -> Pulse:
        n_tokens = sum(n for n, _ in self._newest)
        seconds = sum(taken for _, taken in self._newest)
        return Pulse(
            n_tokens / seconds if seconds > 0 else None,
            n_tokens / (max(len(self._newest), 1) * self._step_seconds),
            self._lag_seconds,
            self._n_spoken,
            self._n_skipped,
            n_dropped,
        )
