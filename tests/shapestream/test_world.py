"""The live world against the script that it must follow."""

from __future__ import annotations

import threading
import time
from itertools import islice

import numpy as np
import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import LiveWorld, make_script, render_frame
from hermes_stream.shapestream.script import scenes_of
from hermes_stream.video.open import Video


@pytest.mark.parametrize("start_seconds", [0.0, 100.25])
def test_it_shows_what_the_script_of_its_seed_says(start_seconds: float) -> None:
    script = make_script(900_001, 300)
    with LiveWorld(900_001, fps=2, width=96, height=64, start_seconds=start_seconds, speed=1000) as world:
        frames = list(islice(world, 120))
    assert [frame.pts_seconds for frame in frames] == [index / 2 for index in range(120)]
    for frame in frames:
        expected_YXC = render_frame(script, start_seconds + frame.pts_seconds, 96, 64)
        assert np.array_equal(frame.image_YXC, expected_YXC)


def test_scenes_without_end_begin_with_those_of_a_script() -> None:
    script = make_script(7, 500)
    assert tuple(islice(scenes_of(7), len(script.scenes))) == script.scenes


def test_it_runs_in_real_time_and_twice_as_fast_at_speed_2() -> None:
    for speed in (1.0, 2.0):
        with LiveWorld(1, fps=10, width=32, height=32, speed=speed) as world:
            frames = iter(world)
            next(frames)
            started = time.monotonic()
            assert next(islice(frames, 4, None)).pts_seconds == 0.5
            assert time.monotonic() - started == pytest.approx(0.5 / speed, abs=0.15)


def test_only_what_is_sampled_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(script: object, time_seconds: float, width: int, height: int) -> np.ndarray:
        drawn.append(time_seconds)
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setattr("hermes_stream.shapestream.world.render_frame", draw)
    with Video(LiveWorld(1, fps=24, speed=500), fps=1, prefetch_frames=100) as video:
        frames = list(islice(video, 5))
    assert [frame.pts_seconds for frame in frames] == [0, 1, 2, 3, 4]
    assert drawn[:5] == [0, 1, 2, 3, 4]


def test_closing_ends_a_world_that_waits() -> None:
    world = LiveWorld(1, fps=0.01)
    frames = iter(world)
    next(frames)
    threading.Timer(0.05, world.close).start()
    started = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"speed": 0}, {"speed": float("nan")}, {"start_seconds": -1}])
def test_rates_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="give positive rates"):
        LiveWorld(1, **wrong)
