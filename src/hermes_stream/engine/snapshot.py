"""Streams as snapshots: what is taken, and how another engine goes on from it. Runs on the engine's thread only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

import torch

from hermes_stream.engine.commentary.opening import lay_opening
from hermes_stream.engine.opening import commit_prefix, open_stream
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import SnapshotError
from hermes_stream.memory.encoding import Reader, Writer
from hermes_stream.memory.snapshot import Snapshot, pack_memory, unpack_memory
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.models.adapter import Adapter, ModelFacts

# What a stream does not take along: the model and its engine, the memory, which has a form of its own, and what went
# wrong with the original.
_APART = {"adapter", "memory", "on_growth", "on_arrival", "stopped", "doubts"}
# What a model may have otherwise than the one of then.
_NO_SIZES = {"layer_devices", "weight_bytes", "n_ranks"}
# How far the values of a prefix may be from the snapshot's, as a share of their norm: other machines round differently.
_PREFIX_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.03, torch.bfloat16: 0.03}


def take_snapshot(stream: Stream) -> Snapshot:
    """All that a fork would copy. Raises SnapshotError if the policy's state is made of what a snapshot cannot hold."""
    writer = Writer()
    structure = {
        "model": _facts(stream.adapter.facts),
        "memory": pack_memory(stream.memory, writer),
        "stream": {
            name: writer.value(value, f"stream.{name}") for name, value in vars(stream).items() if name not in _APART
        },
    }
    return Snapshot(structure, writer.tensors)


def restore_stream(adapter: Adapter, snapshot: Snapshot, own: Collection[type[Any]] = ()) -> Stream:
    """The stream of a snapshot; on the model that it was taken with it goes on bit by bit as the original does.

    own: classes outside this package that the snapshot may hold.
    Raises SnapshotError if the model is another one, or the snapshot that of another version of this package.
    """
    _check_facts(adapter.facts, snapshot.structure["model"])
    reader = Reader(snapshot.tensors, adapter.facts.device, own)
    values = {name: reader.value(value) for name, value in snapshot.structure["stream"].items()}
    expected = {field.name for field in fields(Stream)} - _APART
    if set(values) != expected:
        differing = ", ".join(sorted(expected ^ set(values)))
        raise SnapshotError(f"the snapshot is one of another version of hermes-stream: it differs in {differing}")
    policy, facts = values["policy"], values["facts"]
    stream = open_stream(adapter, policy, chunk_frames=values["chunk_frames"], keep_raw=True, seed=facts.seed)
    if (commentary := values["commentary"]) is None:
        commit_prefix(stream)
    else:
        lay_opening(stream, commentary.settings)
    fresh = stream.memory.current
    unpack_memory(snapshot.structure["memory"], reader, stream.memory)
    _check_prefix(fresh, stream.memory.current, snapshot.structure["model"]["name"])
    vars(stream).update(values)
    stream.memory.check_invariants()
    return stream


def _facts(facts: ModelFacts) -> dict[str, str]:
    """A model's sizes as text. Layers may be spread over devices differently, but not move to another kind of them.

    How many bytes its weights take follows from the rest.
    """
    texts = {field.name: str(getattr(facts, field.name)) for field in fields(facts) if field.name not in _NO_SIZES}
    return {**texts, "device": facts.device.type}


def _check_facts(facts: ModelFacts, saved: dict[str, str]) -> None:
    ours = _facts(facts)
    for name in {**ours, **saved}:
        if name != "name" and ours.get(name) != saved.get(name):
            raise SnapshotError(
                f"the snapshot was taken with {saved['name']}, whose {name} is {saved.get(name)}; {ours['name']} has "
                f"{ours.get(name)}: load the model as it was loaded then"
            )


def _check_prefix(fresh: MemoryVersion, saved: MemoryVersion, name: str) -> None:
    """The prefix in the last layer has gone through the weights of all layers before it: a test of the weights."""
    n = fresh.n_prefix
    ours_KND, theirs_KND = (version.layers[-1].values[:, :n].double() for version in (fresh, saved))
    distance = float((ours_KND - theirs_KND).norm() / theirs_KND.norm())
    if not distance <= _PREFIX_TOLERANCE[fresh.shape.dtype]:
        raise SnapshotError(
            f"the snapshot was taken with other weights than the loaded model has (it was called {name}); "
            "load the model that it was taken with"
        )
