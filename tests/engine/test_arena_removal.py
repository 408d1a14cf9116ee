"""Rows in an arena, as on a GPU, are cut back and forgotten as those of the reference are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream.engine.as_of import as_of
from hermes_stream.engine.forgetting import forget_times
from hermes_stream.memory.backends import flash
from hermes_stream.policies.spec import parse_memory
from tests.oracles.packed_attention_oracle import packed_attention_by_segment
from tests.tiny import make_frames, save_checkpoint

from .direct import open_direct, question_logits, watch_direct
from .test_flash_backend import QUESTION, assert_same_memories, load_both


@pytest.mark.parametrize("memory", ["hermes", "infinipot-v", "keep-all"])
def test_rows_in_an_arena_are_forgotten_and_cut_back(
    tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash, "kernel", packed_attention_by_segment)
    results = []
    for adapter in load_both(save_checkpoint("qwen2_5_vl", tmp_path / "qwen2_5_vl", num_hidden_layers=3)):
        stream = open_direct(adapter, parse_memory(memory).with_budget(4 * adapter.facts.tokens_per_frame))
        watch_direct(stream, make_frames(12), 4)
        past = as_of(stream, 7.0)
        forget_times(stream, 4.0, 6.0)
        for each in (stream, past):
            each.memory.check_invariants()
        logits = [question_logits(each, QUESTION) for each in (stream, past)]
        watch_direct(stream, make_frames(4, start=12), 4)
        results.append((stream, past, torch.stack([*logits, question_logits(stream, QUESTION)])))
    (reference, past, expected_LV), (ours, our_past, logits_LV) = results
    assert ours.memory.current.layers[0].slab.arena is not None
    torch.testing.assert_close(logits_LV, expected_LV, atol=1e-9, rtol=0)
    assert_same_memories(ours, reference)
    assert_same_memories(our_past, past)
    assert our_past.as_of == past.as_of
