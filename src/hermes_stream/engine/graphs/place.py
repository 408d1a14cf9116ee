"""Which rows of an arena a segment stands for, and whether they are all that its attention needs to know.

Shape letters: L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from hermes_stream.engine.batch import Segment, TailSegment
from hermes_stream.engine.tail import Tail
from hermes_stream.memory.arena import Arena, ArenaSlab
from hermes_stream.memory.slab import Slab

Numbers = np.ndarray[Any, np.dtype[np.int64]]

# Rows of a question and its answer at most: kernels divide their work by this and not by what a tail has.
TAIL_CAPACITY = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment's rows stand in each layer of the arena, all as numbers of the host.

    held_start_L, held_len_L: what it attends to besides its tail. tail_start_L: the first row of its tail, which has
    `n_before` rows and gets `n_new` more.
    """

    held_start_L: Numbers
    held_len_L: Numbers
    tail_start_L: Numbers
    n_before: int
    n_new: int

    @staticmethod
    def of_padding(scratch_start_L: Numbers, first_row: int, n_new: int) -> Place:
        """Padding is a session of its own: its tail is scratch rows, and all that it holds is the first of them."""
        start_L = scratch_start_L + first_row
        return Place(start_L, np.ones_like(start_L), start_L, 0, n_new)


@dataclass(frozen=True, slots=True)
class _Held:
    """What a pinned version holds: it stays where it is."""

    arena: Arena | None
    start_L: Numbers
    len_L: Numbers


class Places:
    """Places of segments; what is the same for a tail's whole life is looked up once."""

    def __init__(self) -> None:
        self._held: WeakKeyDictionary[Tail, _Held] = WeakKeyDictionary()

    def arena_of(self, segment: TailSegment) -> Arena | None:
        """Where the rows stand that it attends to; None if a layer's stand elsewhere, or if a layer has none."""
        return self._held_by(segment.tail).arena

    def claim(self, segment: TailSegment) -> Place:
        """The place of a segment in an arena, with room for its new rows: taking it may make the arena grow."""
        tail = segment.tail
        held, n_new = self._held_by(tail), segment.n_rows
        return Place(held.start_L, held.len_L, starts(tail.reserve(n_new)), tail.n_rows, n_new)

    def _held_by(self, tail: Tail) -> _Held:
        held = self._held.get(tail)
        if held is None:
            slabs = [layer.slab for layer in tail.base.layers]
            arenas = {slab.arena for slab in slabs}
            len_L = np.array([layer.n_held for layer in tail.base.layers])
            arena = arenas.pop() if len(arenas) == 1 and len_L.all() else None
            held = _Held(arena, starts(slabs), len_L)
            self._held[tail] = held
        return held


def is_plain(segment: Segment) -> bool:
    """Whether it attends to all that its version holds and to its tail, and nothing else is wanted of it."""
    return (
        isinstance(segment, TailSegment)
        and segment.tail.sees is None
        and segment.deepstack is None
        and not segment.n_read
        and not segment.n_apart
        and segment.tail.n_rows + segment.n_rows <= TAIL_CAPACITY
    )


def starts(slabs: Sequence[Slab]) -> Numbers:
    """The first row of each slab that stands in an arena."""
    return np.array([slab.start for slab in slabs if isinstance(slab, ArenaSlab)])
