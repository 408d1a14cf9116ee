"""A stream of the harness through a snapshot's file, and what two streams are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hermes_stream.memory.encoding import Reader, Writer
from hermes_stream.memory.snapshot import Snapshot, pack_memory, unpack_memory

from .harness import FakeStream


def through_a_file(stream: FakeStream, path: Path) -> FakeStream:
    """The stream as a snapshot gives it back. Its generator is the world's, not the policy's, and is copied beside."""
    writer = Writer()
    value = (stream.policy, stream.facts, stream.state, stream.history)
    Snapshot(
        {"memory": pack_memory(stream.memory, writer), "value": writer.value(value, "value")}, writer.tensors
    ).save(path)
    snapshot = Snapshot.load(path)
    reader = Reader(snapshot.tensors, stream.memory.shape.device)
    policy, facts, state, history = reader.value(snapshot.structure["value"])
    twin = FakeStream(policy, n_layers=facts.n_layers, seed=facts.seed, max_positions=stream.max_positions)
    assert twin.facts == facts
    unpack_memory(snapshot.structure["memory"], reader, twin.memory)
    twin.state, twin.history, twin._generator = state, history, stream._generator.clone_state()
    return twin


def held_identities(stream: FakeStream) -> list[Any]:
    """Which tokens each layer holds, and which frames wait as features."""
    rows = [layer.table.identity_HN.tolist() for layer in stream.memory.current.layers]
    return [*rows, stream.memory.current.features.table.identity_HN.tolist()]


def held_places(stream: FakeStream) -> list[Any]:
    """The same by frame, cell and count: a merged token's identity, and those of later tokens, follow the intervals."""
    version = stream.memory.current
    tables = [layer.table for layer in version.layers] + [version.features.table]
    return [
        torch.stack((table.kind_HN, table.frame_HN, table.row_HN, table.column_HN, table.count_HN)).tolist()
        for table in tables
    ]
