"""A stream as it was at a moment of its past, as far as that is still held. Runs on the engine's thread only."""

from __future__ import annotations

import math
from dataclasses import replace

from hermes_stream.engine.gaps import gaps_until
from hermes_stream.engine.seen import Seen
from hermes_stream.engine.stream import Stream, memory_view
from hermes_stream.errors import UsageError
from hermes_stream.memory.place import extent_of
from hermes_stream.memory.recall import archived_keys
from hermes_stream.memory.removal import (
    Removal,
    bank_without,
    count_standing_for,
    newest_seconds,
    shown_after,
)
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.types import AsOf


def as_of(stream: Stream, time_seconds: float) -> Stream:
    """A fork of which a question sees nothing that was shown later; it takes no more frames.

    Rows that were made of frames of both sides are cut too. Raises UsageError for a time that is none.
    """
    if math.isnan(time_seconds):
        raise UsageError("as of a time that is no number; expected seconds since the stream began")
    twin, seen = stream.fork(), stream.seen.at(time_seconds)
    twin.waiting = tuple(frame for frame in stream.waiting if frame.pts_seconds <= time_seconds)
    is_exact = seen.is_certain and seen.moment.changes == stream.n_changes
    if seen.moment.grids < stream.memory.current.grids_seen or not seen.is_certain:
        removal = twin.memory.remove(shown_after(time_seconds), forgets=False)
        twin.memory.current = _rewound(twin.memory.current, stream, seen, is_exact=is_exact)
        if twin.commentary is not None:
            twin.commentary = twin.commentary.closed()
        twin.encoded = None if stream.encoded is None else bank_without(stream.encoded, shown_after(time_seconds))
        if not is_exact:
            twin.state = forget_in_state(twin, removal, range(seen.moment.grids, stream.memory.current.grids_seen))
    twin.seen, twin.gaps = stream.seen.until(time_seconds), gaps_until(stream.gaps, time_seconds)
    twin.history = tuple(
        turn for turn in stream.history if turn.time_seconds is not None and turn.time_seconds <= time_seconds
    )
    if twin.last_compression_seconds is not None and twin.last_compression_seconds > time_seconds:
        twin.last_compression_seconds = None
    earlier = stream.as_of is None or stream.as_of.is_exact
    twin.as_of = _report(twin, time_seconds, seen, is_exact=is_exact and earlier)
    return twin


def forget_in_state(stream: Stream, removal: Removal, frames: range) -> object:
    """What the policy remembers once rows and these frames are gone from the stream's memory."""
    version = stream.memory.current
    forgetting = Forgetting(
        frames,
        removal.archive_rows_L,
        memory_view(version, stream),
        lambda layer, rotated: archived_keys(version, layer, stream.memory.rope, rotated=rotated),
    )
    return stream.policy.forget(stream.state, forgetting, stream.facts)


def _rewound(version: MemoryVersion, stream: Stream, seen: Seen, *, is_exact: bool) -> MemoryVersion:
    """A version that was cut, with the counts and clocks of the moment."""
    moment, n_prefix = seen.moment, version.n_prefix
    tables = [layer.table for layer in version.layers]
    end, newest_time = extent_of(tables, n_prefix)
    counted = _counted(version, moment.tokens, ingests_features=stream.policy.ingests == "features")
    # Where moments are known for runs of frames only, what is held may know better.
    grids_seen = max(moment.grids, _newest_frame(version) + 1)
    return replace(
        counted,
        next_position=max(moment.next_position, n_prefix) if is_exact else end,
        grid_end=max(moment.grid_end, n_prefix) if is_exact else end,
        newest_time=newest_time,
        frames_seen=max(moment.frames, grids_seen),
        grids_seen=grids_seen,
        time_seconds=seen.newest_seconds or 0.0,
    )


def _counted(version: MemoryVersion, n_tokens: int, *, ingests_features: bool) -> MemoryVersion:
    """The version of a stream that has seen so many tokens, or more if more are held; what is missing was dropped."""
    bank, n_prefix = version.features, version.n_prefix
    held_LH = [layer.table.count_HN[:, n_prefix:].sum(dim=-1) for layer in version.layers]
    n_held, n_waiting = max(int(held_H.max()) for held_H in held_LH), int(bank.table.count_HN.sum())
    if ingests_features:
        n_tokens, n_seen = max(n_tokens, n_waiting), 0
        bank = replace(bank, n_entered=n_tokens, n_dropped=bank.n_dropped.new_tensor(n_tokens - n_waiting))
    elif bank.n_entered:
        n_seen = max(n_tokens - n_waiting, n_held)
        bank = replace(bank, n_entered=n_seen + n_waiting, n_passed_on=n_seen, n_dropped=bank.n_dropped.new_zeros(()))
    else:
        n_seen = max(n_tokens, n_held)
    layers = tuple(
        replace(layer, n_dropped_H=n_seen - held_H) for layer, held_H in zip(version.layers, held_LH, strict=True)
    )
    return replace(version, layers=layers, features=bank, n_seen=n_seen)


def _report(stream: Stream, time_seconds: float, seen: Seen, *, is_exact: bool) -> AsOf:
    version = stream.memory.current
    n_waiting = int(version.features.table.count_HN.sum())
    n_held = min(count_standing_for(version, layer) for layer in version.layers)
    newest = [frame.pts_seconds for frame in stream.waiting]
    if (seconds := newest_seconds(_tables(version))) is not None:
        newest.append(seconds)
    n_missing = seen.moment.tokens + seen.torn_tokens - n_held - n_waiting
    return AsOf(time_seconds, max(newest, default=None), is_exact, max(n_missing, 0))


def _newest_frame(version: MemoryVersion) -> int:
    """Number of the newest frame of which a row says that it is its own; -1 if there is none."""
    return max((int(table.frame_HN.max()) for table in _tables(version) if table.n_tokens), default=-1)


def _tables(version: MemoryVersion) -> list[TokenTable]:
    """Of all rows but the prefix's."""
    held = [layer.table.slice(version.n_prefix) for layer in version.layers]
    archived = [layer.archive.table for layer in version.layers if layer.archive.n_rows]
    return [*held, *archived, version.features.table]
