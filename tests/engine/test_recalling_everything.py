"""Limit cases of retrieval: who recalls everything, from a window that holds everything, answers as keep-all does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream.errors import ConfigError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy
from hermes_stream.policies.cache_flow import CacheFlow
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.rekv import ReKV
from hermes_stream.policies.streaming_tom import StreamingTOM
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.tiny import make_frames, save_checkpoint

QUESTION = "Which colour is the circle?"


@pytest.fixture(scope="module", params=["llava_onevision", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """Families whose positions are contiguous: a view of all frames stands as the frames themselves do."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


def logits(adapter: Adapter, policy: Policy, n_frames: int) -> torch.Tensor:
    """Frames come in intervals of four, so that the last ones of eleven wait; the budget holds twelve."""
    budget = 12 // adapter.facts.frames_per_grid * adapter.facts.tokens_per_frame
    stream = open_direct(adapter, policy.with_budget(budget), chunk_frames=4)
    if n_frames:
        watch_direct(stream, make_frames(n_frames), 2)
    return question_logits(stream, QUESTION)


@pytest.mark.parametrize("n_frames", [0, 3, 11, 12])
@pytest.mark.parametrize(
    "policy",
    [
        ReKV(frames=12),
        ReKV(similarity="dot", frames=14, group=3, recent=2),
        StreamingTOM(bits=16),
    ],
    ids=["rekv", "rekv in groups", "streamingtom"],
)
def test_all_frames_recalled_are_all_frames_held(adapter: Adapter, policy: Policy, n_frames: int) -> None:
    torch.testing.assert_close(
        logits(adapter, policy, n_frames), logits(adapter, KeepAll(), n_frames), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("n_frames", [0, 11])
def test_a_window_that_holds_all_recalls_nothing(adapter: Adapter, n_frames: int) -> None:
    torch.testing.assert_close(
        logits(adapter, CacheFlow(), n_frames), logits(adapter, KeepAll(), n_frames), atol=1e-4, rtol=0
    )


def test_four_bits_are_close_and_not_the_same(adapter: Adapter) -> None:
    coarse, exact = (logits(adapter, StreamingTOM(bits=bits), 12) for bits in (4, 16))
    assert 1e-4 < float((coarse - exact).abs().max()) < 0.2 * float(exact.abs().max())


def test_one_frame_is_not_all(adapter: Adapter) -> None:
    one, all_frames = (logits(adapter, ReKV(frames=frames), 12) for frames in (1, 12))
    assert float((one - all_frames).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (ReKV(budget=90, frames=60), "a question that sees 540 tokens .* at most"),
        (StreamingTOM(budget=200), "a question that sees 531 tokens .* at most"),
        (CacheFlow(budget=200), "a question that sees 398 tokens .* at most"),
    ],
)
def test_views_that_pass_the_models_positions_are_refused_before_the_stream(
    llava_folder: Path, policy: Policy, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_direct(load_adapter(str(llava_folder)), policy, chunk_frames=4)


def test_to_archive_is_not_to_evict(llava_folder: Path) -> None:
    """Two frames fit, so that the first interval's are only copied."""
    stream = open_direct(load_adapter(str(llava_folder)), ReKV(budget=18), chunk_frames=2)
    for n_intervals in (1, 2):
        watch_direct(stream, make_frames(2, start=2 * n_intervals), 2)
        assert stream.memory.current.archived_tokens == (18 * n_intervals,) * 12
        assert stream.n_compressions == n_intervals - 1
