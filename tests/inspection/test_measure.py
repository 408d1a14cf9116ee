"""An inspection is the average of what single questions look at."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hermes_stream import Engine
from hermes_stream.errors import ConfigError
from hermes_stream.inspection.clips import DEFAULT_QUESTIONS, EpisodeClip, open_clips, shuffled
from hermes_stream.inspection.indices import FEATURES, INDICES
from hermes_stream.inspection.measure import MEMORY, Settings, inspect_clips
from hermes_stream.inspection.report import paper_layers, report, to_json
from hermes_stream.inspection.window import window_of
from hermes_stream.models.load import load_adapter
from hermes_stream.shapestream import TASKS, make_questions, make_script
from hermes_stream.types import Frame
from tests.tiny import make_frames, save_checkpoint

QUESTIONS = ("Which colour is the circle?", "left or right?", "yes?")


@dataclass
class FakeClip:
    name: str
    given: list[Frame]
    damage: str = ""

    def frames(self, fps: float) -> Generator[Frame]:
        yield from self.given

    def questions(self, n: int, end_seconds: float, fps: float) -> list[str]:
        return list(QUESTIONS[:n])


def test_it_averages_what_each_question_looks_at(engine: Engine) -> None:
    """Two clips, three questions each; 27 frames are 6 intervals of 4 and a rest that is not watched."""
    clips = [FakeClip(str(seed), make_frames(27, seed=seed)) for seed in (1, 2)]
    found = inspect_clips(engine, clips, Settings(budget=60, chunk=4))
    windows = []
    for clip in clips:
        with engine.open(MEMORY, budget=60, chunk=4) as session:
            session.watch(clip.given[:24])
            windows.append([window_of(session.attention(text)) for text in QUESTIONS])
    weight_SQLFP = np.stack([[window.weight_LHFP.mean(axis=1) for window in of_clip] for of_clip in windows])
    assert found.curve_LFP.shape == (12, 6, 9)
    assert found.grid == (3, 3)
    np.testing.assert_allclose(found.curve_LFP, weight_SQLFP.mean(axis=(0, 1)), rtol=1e-6)
    for name, index in INDICES.items():
        index_SL = index(weight_SQLFP).mean(axis=1)
        np.testing.assert_allclose(found.index_SL[name], index_SL, rtol=1e-6)
        np.testing.assert_allclose(found.index_L[name], index_SL.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(found.error_L[name], abs(index_SL[0] - index_SL[1]) / 2, rtol=1e-5)
        np.testing.assert_allclose(found.curve_index_L[name], index(found.curve_LFP), rtol=1e-9)
    heads = np.stack([INDICES["entropy"](window.weight_LHFP) for of_clip in windows for window in of_clip])
    np.testing.assert_allclose(found.head_LH["entropy"], heads.mean(axis=0), rtol=1e-6)
    assert set(found.head_LH) == set(FEATURES)
    peaks = weight_SQLFP[:, :, 5].argmax(axis=-1)
    np.testing.assert_allclose(found.peak_LP[5], np.bincount(peaks.ravel(), minlength=9) / peaks.size)
    assert [(one.name, one.n_frames, one.questions) for one in found.watched] == [
        ("1", 24, QUESTIONS),
        ("2", 24, QUESTIONS),
    ]


def test_one_clip_has_no_standard_error_and_gives_the_same_text_twice(engine: Engine) -> None:
    clip = FakeClip("one", make_frames(24))
    texts = []
    for _ in range(2):
        found = inspect_clips(engine, [clip], Settings(budget=60, chunk=4, n_questions=1))
        assert found.error_L == {}
        texts.append(to_json(report(found, model="m", command="c")))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_families_that_pair_frames(family: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An odd interval is rounded up to whole grids; windows may differ by a frame and are cut to the shorter."""
    folder = save_checkpoint(family, tmp_path_factory.mktemp("checkpoints") / family)
    with Engine(load_adapter(str(folder))) as engine:
        clips = [FakeClip("a", make_frames(40, seed=1)), FakeClip("b", make_frames(24, seed=2))]
        found = inspect_clips(engine, clips, Settings(budget=250, chunk=3, questions=QUESTIONS))
        assert found.chunk_frames == 4
        assert found.grid == (4, 8)
        assert found.curve_LFP.shape[0] == 12
        assert 4 <= found.curve_LFP.shape[1] <= 7
        assert all(np.isfinite(index_L).all() for index_L in found.index_L.values())
        assert (found.share_LG[:, 2] > 0).all() == (family == "qwen3_vl")
        wide = [Frame(frame.pts_seconds, frame.image_YXC[:18]) for frame in make_frames(40)]
        with pytest.raises(ConfigError, match="of one picture shape together"):
            inspect_clips(engine, [clips[0], FakeClip("wide", wide)], Settings(budget=250))


def test_shuffling_moves_pictures_and_nothing_else(engine: Engine) -> None:
    frames = make_frames(24)
    moved = shuffled(frames)
    assert [frame.pts_seconds for frame in moved] == [frame.pts_seconds for frame in frames]
    assert sorted(frame.image_YXC.tobytes() for frame in moved) == sorted(frame.image_YXC.tobytes() for frame in frames)
    assert sum(np.array_equal(a.image_YXC, b.image_YXC) for a, b in zip(frames, moved, strict=True)) < 6
    clip, settings = FakeClip("one", frames), Settings(budget=60, chunk=4)
    control = inspect_clips(engine, [clip], Settings(budget=60, chunk=4, shuffle=True))
    direct = inspect_clips(engine, [FakeClip("moved", moved)], settings)
    np.testing.assert_array_equal(control.curve_LFP, direct.curve_LFP)
    assert not np.allclose(control.curve_LFP, inspect_clips(engine, [clip], settings).curve_LFP)


def test_a_video_that_evicts_nothing_is_refused(engine: Engine) -> None:
    with pytest.raises(ConfigError, match=r"short: 10 frames .* never fill the window of 80 tokens"):
        inspect_clips(engine, [FakeClip("short", make_frames(10))], Settings(budget=80, chunk=4))


def test_episodes_ask_what_can_be_known_at_their_end() -> None:
    (clip,) = open_clips(["shapestream:900100"], episode_seconds=30)
    frames = list(clip.frames(2.0))
    assert len(frames) == 60
    assert frames[-1].pts_seconds == 29.5
    questions = clip.questions(50, 29.5, 2.0)
    assert len(set(questions)) == len(questions) > len(TASKS) // 2
    assert clip.questions(3, 29.5, 2.0) == questions[:3]
    known = {question.question for question in make_questions(make_script(900_100, 30), fps=2, every_seconds=0.2)}
    assert set(questions) & known


def test_sources_are_files_seeds_and_ranges_of_seeds(tmp_path: Path) -> None:
    clips = open_clips(["shapestream:7", "shapestream:900000-900002"], episode_seconds=20)
    assert [clip.name for clip in clips] == [f"shapestream:{seed}" for seed in (7, 900_000, 900_001, 900_002)]
    assert all(isinstance(clip, EpisodeClip) for clip in clips)
    for wrong in ("shapestream:x", "shapestream:5-3", "shapestream:"):
        with pytest.raises(ConfigError, match=wrong):
            open_clips([wrong], episode_seconds=20)
    assert len(set(DEFAULT_QUESTIONS)) == len(DEFAULT_QUESTIONS) == 8


def test_the_papers_layers_are_scaled_to_the_depth() -> None:
    assert paper_layers(28) == (0, 8, 26)
    assert paper_layers(10) == (0, 3, 9)
    assert paper_layers(3) == (0, 1, 2)
