"""Streams in an arena and static forwards over them, on a CPU: the device's code with a reference kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.static_forwards import StaticForwards
from hermes_stream.engine.opening import commit_prefix, memory_shape, open_stream
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.arena import Arena
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Policy
from hermes_stream.types import Query
from tests.engine.direct import make_task


def make_arena(adapter: Adapter) -> Arena:
    return Arena(memory_shape(adapter.facts))


@torch.inference_mode()
def open_in_arena(adapter: Adapter, policy: Policy, arena: Arena) -> Stream:
    """A stream whose rows stand in an arena from the first one on."""
    stream = open_stream(adapter, policy, chunk_frames=4, keep_raw=True, seed=0)
    empty = stream.memory.current
    layers = [replace(layer, slab=arena.slab(i, 64, keep_raw=True)) for i, layer in enumerate(empty.layers)]
    stream.memory.current = replace(empty, layers=tuple(layers))
    commit_prefix(stream)
    return stream


class Pair:
    """One question asked twice of the same moment: one answer decoded by static forwards, the other one eagerly."""

    def __init__(self, stream: Stream, text: str) -> None:
        self.static, self.eager = (make_task(stream, Query(text, max_new_tokens=64))[0] for _ in range(2))


@torch.inference_mode()
def assert_step_equals_eager(static: StaticForwards, pairs: Sequence[Pair], atol: float = 1e-9) -> torch.Tensor:
    """One step of these answers both ways; returns the static one's logits `[A, V]`."""
    adapter = pairs[0].static._adapter
    eager = run_forward(adapter, [pair.eager.segment() for pair in pairs])
    outcome = static.run([pair.static.segment() for pair in pairs])
    assert outcome is not None, "this step was not for a static forward"
    torch.testing.assert_close(outcome.logits_AV, eager.logits_AV, atol=atol, rtol=0)
    assert outcome.largest_A.tolist() == eager.largest_A.tolist()
    for pair, token_id in zip(pairs, eager.largest_A.tolist(), strict=True):
        pair.static.accept(token_id)
        pair.eager.accept(token_id)
    return outcome.logits_AV.clone()
