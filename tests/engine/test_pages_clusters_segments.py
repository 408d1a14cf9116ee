"""Limit cases of livevlm, v-rex and streamkv on models of every family: nothing left out is nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream.memory.view import MemoryView
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy, ViewSpec
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.live_vlm import LiveVLM
from hermes_stream.policies.spec import parse_memory
from hermes_stream.policies.stream_kv import StreamKV
from hermes_stream.policies.v_rex import VRex
from tests.tiny import make_frames, save_checkpoint

from .direct import open_direct, question_logits, watch_direct

N_FRAMES = 18


class LiveVLMThatReadsAll(LiveVLM):
    """The same memory without retrieval."""

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:
        return ViewSpec()


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


def logits_of(adapter: Adapter, policy: Policy, n_frames: int = N_FRAMES) -> torch.Tensor:
    """Intervals of four frames in pieces of two; the last interval has not ended."""
    stream = open_direct(adapter, policy, chunk_frames=4)
    watch_direct(stream, make_frames(n_frames), 2)
    stream.memory.check_invariants()
    return question_logits(stream, "What is left?")


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)  # float32


@pytest.mark.parametrize("text", ["v-rex(mass=1)", "v-rex(mass=1, keys=raw)", "v-rex(mass=1) + recent(frames=1)"])
def test_all_clusters_are_the_whole_memory(adapter: Adapter, text: str) -> None:
    policy = parse_memory(text, 3 * adapter.facts.tokens_per_frame)
    assert_close(logits_of(adapter, policy), logits_of(adapter, KeepAll()))


def test_fewer_clusters_are_not(adapter: Adapter) -> None:
    policy = VRex(budget=adapter.facts.tokens_per_frame, mass=0.0)
    assert float((logits_of(adapter, policy) - logits_of(adapter, KeepAll())).abs().max()) > 1e-3


def test_all_pages_are_the_memory_without_retrieval(adapter: Adapter) -> None:
    budget = 5 * adapter.facts.tokens_per_frame
    assert_close(
        logits_of(adapter, LiveVLM(budget=budget, pages=1)), logits_of(adapter, LiveVLMThatReadsAll(budget=budget))
    )


def test_fewer_pages_are_not(adapter: Adapter) -> None:
    budget = 5 * adapter.facts.tokens_per_frame
    some, all_pages = (logits_of(adapter, LiveVLM(budget=budget, pages=pages)) for pages in (0.2, 1.0))
    assert float((some - all_pages).abs().max()) > 1e-3


def test_frames_that_wait_and_are_all_recalled_are_the_whole_memory(adapter: Adapter) -> None:
    # A view puts frame behind frame; with absolute time a stream has other distances, so there a single grid must do.
    n_frames = adapter.facts.frames_per_grid if adapter.facts.has_absolute_time else N_FRAMES
    policy = StreamKV(budget=N_FRAMES * adapter.facts.tokens_per_frame, frames=N_FRAMES)
    assert_close(logits_of(adapter, policy, n_frames), logits_of(adapter, KeepAll(), n_frames))


def test_segments_that_leave_whole_stay_whole_in_the_archive(adapter: Adapter) -> None:
    policy = StreamKV(budget=4 * adapter.facts.tokens_per_frame, keep=1.0, frames=N_FRAMES, summary=False)
    stream = open_direct(adapter, policy, chunk_frames=4)
    watch_direct(stream, make_frames(N_FRAMES), 2)
    version = stream.memory.current
    for layer in version.layers:
        archived_N, held_N = layer.archive.table.identity_HN[0], layer.table.identity_HN[0, version.n_prefix :]
        expected_N = torch.arange(version.n_prefix, version.next_identity)
        assert torch.equal(torch.cat((archived_N, held_N)), expected_N)
    assert bool(torch.isfinite(question_logits(stream, "What is left?")).all())
