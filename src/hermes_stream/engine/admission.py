"""Who may take how much memory: nothing begins that does not fit beside all that has begun.

Counted are the weights and one forward (once), what each stream keeps at most, the slabs that one plan at a time fills
while the old ones are still there, and the slabs that running answers pin. Room for one answer is always left.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from hermes_stream.engine.available import available_bytes
from hermes_stream.engine.footprint import (
    Footprint,
    footprint,
    forward_bytes,
    interval_rows,
)
from hermes_stream.engine.question import Task
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import ConfigError, LimitError
from hermes_stream.memory.budget import human_bytes, parse_bytes
from hermes_stream.models.adapter import Adapter


@dataclass(frozen=True, slots=True)
class _Pin:
    """What an answer keeps; answers that were asked of the same slabs share them."""

    slabs: tuple[int, ...]
    slab_bytes: int
    tail_bytes: int


class Ledger:
    """What is promised to whom, in bytes. Streams and answers that are forgotten give back by themselves.

    The sum never passes the limit, and is at least what is really allocated. Safe to use from several threads.
    """

    def __init__(self, adapter: Adapter, forward_rows: int, memory_limit: int | str | None = None) -> None:
        """forward_rows: of the largest forward. memory_limit: bytes, as a number or as in "12GiB"; None is a share of
        what is free on the device, or of what the system says is available, beside the weights.

        Raises ConfigError if weights and one forward alone pass a limit that was given.
        """
        self._lock = threading.RLock()
        self._weight_bytes, self._forward_bytes = adapter.facts.weight_bytes, forward_bytes(adapter, forward_rows)
        self._streams: WeakKeyDictionary[Stream, Footprint] = WeakKeyDictionary()
        self._pins: WeakKeyDictionary[Task, _Pin] = WeakKeyDictionary()
        free = available_bytes(adapter.facts) if memory_limit is None else None
        self.limit_bytes = None if free is None else self._weight_bytes + free
        if memory_limit is not None:
            self.limit_bytes = parse_bytes(memory_limit, "the memory limit")
            self._check_model(self.limit_bytes, adapter.facts.name)

    @property
    def used_bytes(self) -> int:
        """What is promised."""
        with self._lock:
            return self._sum(list(self._streams.values()), list(self._pins.values()))

    @property
    def n_streams(self) -> int:
        with self._lock:
            return len(self._streams)

    def admit(self, stream: Stream) -> None:
        """Count a stream that begins, at its most, or with one interval if it has no bound.

        Raises LimitError if it does not fit beside the others, ConfigError if it would not fit alone.
        """
        needed = footprint(stream, interval_rows(stream))
        with self._lock:
            streams = list(self._streams.values())
            before, after = self._sum(streams), self._sum([*streams, needed])
            if self.limit_bytes is not None and after > self.limit_bytes:
                raise _refusal(stream, after - before, before, self.limit_bytes, len(streams))
            self._streams[stream] = needed
        stream.on_growth = self.check_growth

    def check_growth(self, stream: Stream, n_new_rows: int = 0) -> None:
        """Count what a stream takes with so many rows more. Raises LimitError, with nothing counted, if it is too much.

        Changes nothing for a stream within its budget whose policy remembers no more than before.
        """
        needed = footprint(stream, n_new_rows)
        with self._lock:
            # Told of every piece, and within its budget a stream takes what it took before.
            if self._streams.get(stream) in (None, needed):
                return
            others = [held for known, held in self._streams.items() if known is not stream]
            self._check(
                self._sum([*others, self._streams[stream]]),
                self._sum([*others, needed]),
                f"the memory of {stream.policy.title} would grow to {human_bytes(needed.held_bytes)}",
                "what was watched before is kept; take a policy with a budget, or close other sessions",
            )
            self._streams[stream] = needed

    def pin(self, stream: Stream, task: Task) -> None:
        """Count an answer for as long as its task lives. Raises LimitError if it does not fit beside the others."""
        slabs = tuple(id(layer.slab) for layer in stream.memory.current.layers)
        needed = footprint(stream, 0, n_tail_rows=task.n_rows_at_most)
        pin = _Pin(slabs, needed.slab_bytes, needed.tail_bytes)
        with self._lock:
            streams, pins = list(self._streams.values()), list(self._pins.values())
            self._check(
                self._sum(streams, pins),
                self._sum(streams, [*pins, pin]),
                f"an answer needs {human_bytes(needed.slab_bytes + needed.tail_bytes)}",
                f"{len(pins)} others are being given; ask when they are over, or for fewer new tokens",
            )
            self._pins[task] = pin

    def release(self, stream: Stream) -> None:
        """A stream has ended."""
        with self._lock:
            self._streams.pop(stream, None)

    def _sum(self, streams: list[Footprint], pins: list[_Pin] | None = None) -> int:
        pins = list(self._pins.values()) if pins is None else pins
        pinned = sum({pin.slabs: pin.slab_bytes for pin in pins}.values()) + sum(pin.tail_bytes for pin in pins)
        one_answer = max((held.slab_bytes + held.tail_bytes for held in streams), default=0)
        one_plan = max((held.slab_bytes for held in streams), default=0)
        rows = sum(held.slab_bytes for held in streams) + one_plan + max(pinned, one_answer)
        beside = sum(held.held_bytes - held.slab_bytes for held in streams)
        # An arena is at most twice as long as it must be, and longer by a block at most.
        spare = min(rows, max((held.block_bytes for held in streams), default=0))
        return self._weight_bytes + self._forward_bytes + beside + rows + spare

    def _check(self, before: int, after: int, what: str, advice: str) -> None:
        if self.limit_bytes is not None and after > max(before, self.limit_bytes):
            left = human_bytes(max(self.limit_bytes - before, 0))
            raise LimitError(f"{what}, but {left} of {human_bytes(self.limit_bytes)} are left: {advice}")

    def _check_model(self, limit_bytes: int, name: str) -> None:
        needed = self._weight_bytes + self._forward_bytes
        if needed >= limit_bytes:
            raise ConfigError(
                f"the memory limit is {human_bytes(limit_bytes)}, but the weights of {name} take "
                f"{human_bytes(self._weight_bytes)} and one forward {human_bytes(self._forward_bytes)}; give more"
            )


def _refusal(stream: Stream, n_bytes: int, n_used: int, limit_bytes: int, n_streams: int) -> LimitError | ConfigError:
    """Alone it is a question of settings; beside others, of the moment."""
    left, limit = human_bytes(max(limit_bytes - n_used, 0)), human_bytes(limit_bytes)
    beside = f"the weights and {n_streams} sessions" if n_streams else "the weights"
    fewer = "fewer sessions, " if n_streams else ""
    return (LimitError if n_streams else ConfigError)(
        f"a session of {stream.policy.title} with {_budget(stream)} and intervals of {stream.chunk_frames} frames "
        f"needs {human_bytes(n_bytes)}, but {left} of {limit} are left beside {beside}; give a smaller budget, shorter "
        f"intervals, {fewer}or a higher memory limit"
    )


def _budget(stream: Stream) -> str:
    n = stream.policy.budget_tokens
    return "no budget" if n is None else f"a budget of {n} tokens a layer"
