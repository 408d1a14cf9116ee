"""The engine's steps without its thread: for tests that look at logits and at single forwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.engine.answer import AnswerStream, AnswerTask
from hermes_stream.engine.batch import CommitSegment, PackedBatch
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.opening import open_stream
from hermes_stream.engine.pending import Channel
from hermes_stream.engine.question import Question
from hermes_stream.engine.snapshot import restore_stream, take_snapshot
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.encoding import load
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Policy
from hermes_stream.types import Frame, Query


@torch.inference_mode()
def open_direct(adapter: Adapter, policy: Policy, *, chunk_frames: int = 4, keep_raw: bool = True) -> Stream:
    stream = open_stream(adapter, policy, chunk_frames=chunk_frames, keep_raw=keep_raw, seed=0)
    prefix_TE = adapter.prefix()
    pending = stream.memory.begin_prefix(prefix_TE.shape[0])
    adapter.run(PackedBatch([CommitSegment(prefix_TE, pending)], adapter.rope))
    stream.memory.commit(pending)
    return stream


@torch.inference_mode()
def watch_packed(streams: Sequence[Stream], frames: Sequence[Sequence[Frame]]) -> list[int]:
    """One forward that holds a piece of every stream; returns how many of its frames each took."""
    pieces = [Piece(stream, list(batch)) for stream, batch in zip(streams, frames, strict=True)]
    segments = [segment for piece in pieces for segment in piece.segments()]
    if segments:
        adapter = streams[0].adapter
        adapter.run(PackedBatch(segments, adapter.rope))
    for piece in pieces:
        piece.finish()
    return [piece.n_frames for piece in pieces]


def watch_direct(stream: Stream, frames: Sequence[Frame], piece_frames: int) -> None:
    """Frames in pieces of at most `piece_frames`, ended by the interval's end as in the engine."""
    left = list(frames)
    while left:
        n_waiting = len(stream.waiting)
        (n,) = watch_packed([stream], [left[:piece_frames]])
        # Before a gap a frame is committed that waited, alone.
        assert n > 0 or len(stream.waiting) < n_waiting
        left = left[n:]


def make_task(stream: Stream, query: str | Query) -> tuple[AnswerTask, AnswerStream]:
    query = Query(query) if isinstance(query, str) else query
    asker = AnswerStream(query)
    with torch.inference_mode():
        return AnswerTask(stream, query, Channel(asker)), asker


@torch.inference_mode()
def question_logits(stream: Stream, text: str | Query) -> torch.Tensor:
    """Logits `[V]` of the first answer token, after the question's own pass where there is one."""
    question = Question(stream, Query(text) if isinstance(text, str) else text)
    while True:
        batch = PackedBatch([question.segment], stream.adapter.rope)
        logits_V = stream.adapter.logits(stream.adapter.run(batch)[batch.last_rows])[0]
        if not question.is_asking:
            return logits_V
        question.end_asking()


def memory_bits(stream: Stream) -> list[torch.Tensor]:
    """Copies of everything that the current version holds."""
    version = stream.memory.current
    tensors = []
    for layer in version.layers:
        tensors += [layer.keys, layer.values, layer.slab.raw_keys(layer.n_held), layer.table.data_CHN]
        tensors.append(layer.table.seconds_HN)
    return [tensor.clone() for tensor in tensors]


def assert_same_streams(ours: Stream, theirs: Stream) -> None:
    """All that a snapshot holds is the same: rows, features, the policy's state, counters."""
    assert_same_snapshots(take_snapshot(ours), take_snapshot(theirs))


def assert_same_snapshots(ours: Snapshot, theirs: Snapshot) -> None:
    assert ours.structure == theirs.structure
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(load(tensor), load(theirs.tensors[name])) for name, tensor in ours.tensors.items())


@torch.inference_mode()
def restore_direct(adapter: Adapter, snapshot: Snapshot) -> Stream:
    return restore_stream(adapter, snapshot)


def assert_same_bits(before: list[torch.Tensor], after: list[torch.Tensor]) -> None:
    assert len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
