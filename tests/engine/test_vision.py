"""Frames of several streams in one call of the vision tower: each gets what it gets alone, and fails alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from hermes_stream import Engine, Frame, SlidingWindow
from hermes_stream.engine import worker
from hermes_stream.errors import UsageError
from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.models.load import load_adapter
from hermes_stream.types import VisualTokens
from tests.engine.direct import memory_bits
from tests.engine.pausing import paused
from tests.tiny import make_frames, save_checkpoint

FAMILIES = ("llava_onevision", "qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="module", params=FAMILIES)
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = save_checkpoint(request.param, tmp_path_factory.mktemp("model") / request.param, num_hidden_layers=2)
    return load_adapter(str(folder), dtype="float64")


def assert_same_tokens(ours: VisualTokens, theirs: VisualTokens) -> None:
    for name in VisualTokens.__slots__:
        a, b = getattr(ours, name), getattr(theirs, name)
        if isinstance(b, torch.Tensor) and b.is_floating_point():
            torch.testing.assert_close(a, b, atol=1e-9, rtol=0)
        elif isinstance(b, torch.Tensor):
            assert torch.equal(a, b), name
        elif name == "deepstack":
            for tap_a, tap_b in zip(a, b, strict=True):
                torch.testing.assert_close(tap_a, tap_b, atol=1e-9, rtol=0)
        else:
            assert a == b, name


def clips() -> list[Clip]:
    """Of different lengths, sizes and beginnings."""
    wide, tall, late = make_frames(4), make_frames(2, seed=1, height=64, width=36), make_frames(6, seed=2, start=30)
    return [Clip(wide, 0.0), Clip(tall, 0.0), Clip(late, 17.0)]


@torch.inference_mode()
def test_clips_of_several_streams_are_encoded_as_each_alone(adapter: Adapter) -> None:
    for wants_saliency in {False, adapter.facts.has_saliency}:
        together = adapter.embed_clips(clips(), wants_saliency=wants_saliency)
        for clip, tokens in zip(clips(), together, strict=True):
            alone = adapter.embed(clip.frames, since_seconds=clip.since_seconds, wants_saliency=wants_saliency)
            assert_same_tokens(tokens, alone)


@torch.inference_mode()
def test_grids_of_an_encoding_are_what_their_frames_alone_are_encoded_to(adapter: Adapter) -> None:
    per_grid = adapter.facts.frames_per_grid
    frames = [*make_frames(4, start=30), *make_frames(4, seed=1, start=34, height=64, width=36)]
    has_saliency = adapter.facts.has_saliency
    whole = adapter.embed(frames, since_seconds=17.0, wants_saliency=has_saliency)
    n = whole.n_grids
    assert whole.grids(0, n) is whole
    for start, stop in ((0, 1), (1, 3), (n - 2, n)):
        part = frames[start * per_grid : stop * per_grid]
        alone = adapter.embed(part, since_seconds=17.0, wants_saliency=has_saliency)
        assert_same_tokens(whole.grids(start, stop), alone)
    assert sum(whole.rows_of_grids()) == whole.n_rows


class _Picky:
    """An adapter that fails on black pictures, and counts calls."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.n_clips: list[int] = []

    def embed_clips(self, clips: list[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        self.n_clips.append(len(clips))
        if any(not frame.image_YXC.any() for clip in clips for frame in clip.frames):
            raise UsageError("a black picture")
        return self._adapter.embed_clips(clips, wants_saliency=wants_saliency)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


@pytest.mark.parametrize("overlaps", [False, True])
def test_frames_that_cannot_be_encoded_fail_their_own_stream(
    llava_folder: Path, monkeypatch: pytest.MonkeyPatch, overlaps: bool
) -> None:
    """Also on a thread of the stage's own: the others' frames come in as if they had been alone."""
    monkeypatch.setattr(worker, "overlaps_vision", lambda device: overlaps)
    picky = _Picky(load_adapter(str(llava_folder), dtype="float64"))
    with Engine(cast(Adapter, picky)) as engine:
        sessions = [engine.open(SlidingWindow(budget=20)) for _ in range(3)]
        clips = [make_frames(4, seed=seed) for seed in range(3)]
        clips[1] = [Frame(frame.pts_seconds, frame.image_YXC * 0) for frame in clips[1]]
        with paused(engine):
            done = [engine.submit_watch(session, clip) for session, clip in zip(sessions, clips, strict=True)]
        assert isinstance(done[1].exception(), UsageError)
        done[0].result()
        done[2].result()
        assert picky.n_clips[0] == 3
        assert [session.stats.frames_seen for session in sessions] == [4, 0, 4]
        with engine.open(SlidingWindow(budget=20)) as alone:
            alone.watch(clips[2])
            for a, b in zip(memory_bits(alone.stream), memory_bits(sessions[2].stream), strict=True):
                torch.testing.assert_close(a, b, atol=1e-9, rtol=0)
