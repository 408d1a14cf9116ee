"""Keys that were placed ten thousand times equal keys that were placed once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream import SlidingWindow
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.rope import rotate
from hermes_stream.models.load import load_adapter
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.tiny import make_frames, save_llava_onevision


@torch.inference_mode()
def move_about(memory: KVMemory, n_moves: int) -> None:
    """Random placements, then the compact one."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_moves):
        placed = tuple(
            torch.randint(20, 400, (1, n), generator=generator).sort().values for n in memory.current.held_tokens
        )
        memory.apply(Plan(positions=placed))
    memory.apply(Plan(positions=Positions.COMPACT))


@pytest.mark.parametrize(
    ("dtype", "keep_raw", "n_moves", "atol"),
    [
        ("float32", True, 10_000, 1e-4),
        ("bfloat16", True, 10_000, 1e-2),
        # Without the un-rotated keys each placement rounds once more; the docstring says so.
        ("float32", False, 500, 1e-3),
    ],
)
def test_many_placements_equal_one(tmp_path: Path, dtype: str, keep_raw: bool, n_moves: int, atol: float) -> None:
    adapter = load_adapter(str(save_llava_onevision(tmp_path, num_hidden_layers=2)), dtype=dtype)
    moved, fresh = (open_direct(adapter, SlidingWindow(budget=27), keep_raw=keep_raw) for _ in range(2))
    for stream in (moved, fresh):
        watch_direct(stream, make_frames(12), 3)
    move_about(moved.memory, n_moves)
    move_about(fresh.memory, 0)
    moved.memory.check_invariants()
    torch.testing.assert_close(question_logits(moved, "left?"), question_logits(fresh, "left?"), atol=atol, rtol=0)
    for layer in moved.memory.current.layers:
        if keep_raw:
            cos, sin = adapter.rope.tables(layer.table.position_RHN, adapter.facts.dtype)  # type: ignore[attr-defined]
            assert torch.equal(layer.keys, rotate(layer.slab.raw_keys(layer.n_held), cos, sin))
