"""Every registered policy on a model of every family: it watches, can be asked, and asking changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from tests.tiny import make_frames, save_checkpoint

from .direct import assert_same_bits, memory_bits, open_direct, question_logits, watch_direct


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_watches_and_answers(name: str, adapter: Adapter) -> None:
    """Four intervals of which all but the first evict."""
    policy = POLICIES[name]().with_budget(2 * adapter.facts.tokens_per_frame)
    stream = open_direct(adapter, policy, chunk_frames=4)
    for start in range(0, 16, 4):
        watch_direct(stream, make_frames(4, start=start), 2)
        stream.memory.check_invariants()
    before = memory_bits(stream)
    assert bool(torch.isfinite(question_logits(stream, "What is left?")).all())
    assert_same_bits(before, memory_bits(stream))
    if policy.is_bounded:
        assert stream.n_compressions > 0
