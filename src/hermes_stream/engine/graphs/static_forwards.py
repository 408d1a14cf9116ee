"""The static forwards of one engine: which there are, which serves a step, and what became of each.

Shape letters: A answers, V vocabulary.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from hermes_stream.engine.batch import Segment, TailSegment
from hermes_stream.engine.graphs.bucket import QUESTION_ROWS, Bucket, decode_bucket, question_bucket
from hermes_stream.engine.graphs.place import Place, Places, is_plain, starts
from hermes_stream.engine.graphs.recorder import CudaGraphs, Recorder
from hermes_stream.engine.graphs.static_forward import StaticForward
from hermes_stream.engine.token_segment import TokenSegment
from hermes_stream.memory.arena import Arena
from hermes_stream.models.adapter import Adapter

_log = logging.getLogger(__name__)

# One forward launched kernel by kernel takes about as long as so many replays (7B: 25 ms and 5 to 6, by arithmetic).
_MOST_REPLAYS = 4


@dataclass(frozen=True, slots=True)
class Capture:
    """What became of a bucket. error: why its forwards run as any others do; empty if it was recorded."""

    bucket: Bucket
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Logits `[A, V]` of the last row of each tail segment, and which is the largest."""

    logits_AV: torch.Tensor
    largest_A: torch.Tensor

    @staticmethod
    def of(logits_AV: torch.Tensor) -> Outcome:
        return Outcome(logits_AV, logits_AV.argmax(dim=-1) if len(logits_AV) else torch.empty(0, dtype=torch.int64))

    @staticmethod
    def joined(outcomes: Iterable[Outcome]) -> Outcome:
        """Of several forwards, each of which overwrites what the one before it returned."""
        kept = [(outcome.logits_AV.clone(), outcome.largest_A.clone()) for outcome in outcomes]
        return Outcome(*map(torch.cat, zip(*kept, strict=True))) if len(kept) > 1 else Outcome(*kept[0])


class StaticForwards:
    """Recordings of the buckets that were asked for; other forwards are none of its business.

    When the arena has grown, they are made anew as they are needed. A bucket that failed is not tried again.
    """

    def __init__(self, adapter: Adapter, make_recorder: Callable[[], Recorder]) -> None:
        self._adapter, self._make_recorder = adapter, make_recorder
        self._wanted: set[Bucket] = set()
        self._captures: dict[Bucket, Capture] = {}
        self._places = Places()
        self._shelf: _Shelf | None = None

    @property
    def captures(self) -> tuple[Capture, ...]:
        """The newest try of each bucket."""
        return tuple(self._captures[bucket] for bucket in sorted(self._captures))

    def warm_up(self, arena: Arena, buckets: Iterable[Bucket]) -> None:
        """Record these buckets, now and whenever they have to be again."""
        for bucket in buckets:
            self._wanted.add(bucket)
            self._recording(arena, bucket)

    def run(self, segments: Sequence[Segment]) -> Outcome | None:
        """One step of these segments, tokens of answers together and each question by itself.

        None if that is not for static forwards to do; nothing has happened then.
        """
        tails = [segment for segment in segments if isinstance(segment, TailSegment) and is_plain(segment)]
        groups = _groups(tails) if len(tails) == len(segments) else []
        buckets = [_bucket_for(group) for group in groups]
        if not 0 < len(groups) <= _MOST_REPLAYS or not self._wanted.issuperset(buckets):
            return None
        arenas = {self._places.arena_of(segment) for segment in tails}
        arena = arenas.pop()
        if arena is None or arenas:
            return None
        # Before the recordings are looked for: what makes the arena grow makes them void.
        places = [[self._places.claim(segment) for segment in group] for group in groups]
        recordings = [self._recording(arena, bucket) for bucket in buckets if bucket is not None]
        ready = [recording for recording in recordings if recording is not None]
        if len(ready) < len(groups):
            return None
        work = zip(ready, groups, places, strict=True)
        return Outcome.joined(recording.play(group, where) for recording, group, where in work)

    def _recording(self, arena: Arena, bucket: Bucket) -> _Recording | None:
        if self._shelf is None or not self._shelf.serves(arena):
            self._shelf = None  # frees what it has before anything is taken
            self._shelf = _Shelf(self._adapter, arena, self._make_recorder())
        if bucket not in self._shelf.recordings and not self._has_failed(bucket):
            self._record(self._shelf, bucket)
        return self._shelf.recordings.get(bucket)

    def _has_failed(self, bucket: Bucket) -> bool:
        return bucket in self._captures and bool(self._captures[bucket].error)

    def _record(self, shelf: _Shelf, bucket: Bucket) -> None:
        start, error = time.perf_counter(), ""
        try:
            shelf.record(bucket)
        except Exception as failure:  # any kernel may refuse, each with an error of its own
            error = " ".join(f"{type(failure).__name__}: {failure}".split())
            _log.warning("%s runs uncaptured and slower, because its capture failed: %s", bucket, error)
        self._captures[bucket] = Capture(bucket, time.perf_counter() - start, error)


class _Recording:
    def __init__(self, forward: StaticForward, replay: Callable[[], None]) -> None:
        self._forward, self._replay = forward, replay

    def play(self, segments: Sequence[TailSegment], places: Sequence[Place]) -> Outcome:
        self._forward.load(segments, places)
        self._replay()
        n = len(segments)
        return Outcome(self._forward.logits_AV[:n], self._forward.largest_A[:n])


class _Shelf:
    """Recordings that are good as long as the arena has the addresses that it has now."""

    def __init__(self, adapter: Adapter, arena: Arena, recorder: Recorder) -> None:
        self.recordings: dict[Bucket, _Recording] = {}
        self._adapter, self._arena, self._recorder = adapter, arena, recorder
        layers = range(adapter.facts.n_layers)
        self._scratch = [arena.slab(index, max(QUESTION_ROWS), keep_raw=False) for index in layers]
        # After what was just taken from it.
        self._generation = arena.generation

    def serves(self, arena: Arena) -> bool:
        return arena is self._arena and arena.generation == self._generation

    def record(self, bucket: Bucket) -> None:
        forward = StaticForward(self._adapter, self._arena, bucket, starts(self._scratch))
        self.recordings[bucket] = _Recording(forward, self._recorder.record(forward.run))


def _groups(segments: Sequence[TailSegment]) -> list[list[TailSegment]]:
    """What goes through one replay each, in order."""
    groups: list[list[TailSegment]] = []
    for segment in segments:
        if groups and isinstance(segment, TokenSegment) and isinstance(groups[-1][-1], TokenSegment):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


def _bucket_for(group: Sequence[TailSegment]) -> Bucket | None:
    return decode_bucket(len(group)) if isinstance(group[0], TokenSegment) else question_bucket(group[0].n_rows)


def static_forwards(adapter: Adapter) -> StaticForwards | None:
    """For a model whose forwards can be recorded; None for any other."""
    device = adapter.facts.device
    return None if obstacle(adapter) else StaticForwards(adapter, lambda: CudaGraphs(device))


def obstacle(adapter: Adapter) -> str:
    """Why nothing can be recorded, in words; empty if nothing keeps it."""
    if adapter.backend.name != "flash":
        return f"memory attention is {adapter.backend.name}: {adapter.backend.reason}"
    return "the layers are on several devices" if adapter.facts.layer_devices else ""
