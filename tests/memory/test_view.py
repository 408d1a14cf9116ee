"""What policies see of keys and values."""

from __future__ import annotations

import pytest
import torch

from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.view import LayerView

from .test_kv_memory import HEAD_DIM, N_KV_HEADS, N_LAYERS, N_PREFIX, make_memory, watch


@pytest.mark.parametrize("keep_raw", [True, False])
def test_a_view_shows_the_keys_and_values_of_its_rows(keep_raw: bool) -> None:
    """Un-rotated keys too where they are not stored, and where heads hold different rows."""
    memory = make_memory(keep_raw=keep_raw)
    watch(memory, 3, seed=5)
    generator = torch.Generator().manual_seed(5)
    rows = torch.tensor([[0, 4, 8], [1, 2, 3]])
    memory.apply(Plan((LayerPlan(rows),) * N_LAYERS))
    for layer in memory.current.layers:
        raw, value = torch.randn(2, N_KV_HEADS, 9, HEAD_DIM, generator=generator, dtype=torch.float64)
        tensors = LayerView.of(layer, N_PREFIX, memory.rope, {}).tensors
        expected = [torch.stack([x[head, rows[head]] for head in range(N_KV_HEADS)]) for x in (raw, value)]
        torch.testing.assert_close(tensors.raw_keys_KND, expected[0], atol=1e-12, rtol=0)
        assert torch.equal(tensors.values_KND, expected[1])
        assert torch.equal(tensors.rotated_keys_KND, layer.keys[:, N_PREFIX:])
