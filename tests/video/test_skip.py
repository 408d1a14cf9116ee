"""Clips of long videos: sought, and still the same pictures at the same times as without."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hermes_stream.errors import ConfigError, SourceError
from hermes_stream.types import Frame
from hermes_stream.video import Video, open_pictures, open_source, open_video, write_video
from tests.oracles.sampler_oracle import nearest_to_ticks

from .clips import number_of, numbered_images, write_raw

FPS, N_FRAMES = 10, 250
# A key frame every second; starts at one, between two, before the second one, and near the end.
GROUP = {"g": "10", "keyint_min": "10"}
STARTS = (0.35, 1.0, 7.0, 12.34, 24.6)


def seen(frames: list[Frame]) -> list[tuple[float, int]]:
    return [(round(frame.pts_seconds, 3), number_of(frame.image_YXC)) for frame in frames]


@pytest.fixture(scope="module", params=["a.mp4", "a.mkv", "a.webm", "a.ts", "a.avi", "a.gif", "a.h264"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skip") / str(request.param)
    codec, options = {
        "a.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": "20", "g": "10"}),
        "a.avi": ("mpeg4", {"g": "10"}),
    }.get(path.name, ("libx264", GROUP))
    if path.suffix == ".gif":
        write_video(path, numbered_images(N_FRAMES), fps=FPS, codec="gif")
    else:
        write_raw(path, codec, N_FRAMES, fps=FPS, options=options)
    return path


@pytest.mark.parametrize("start_seconds", STARTS)
def test_what_follows_a_skip_is_what_follows_without(video: Path, start_seconds: float) -> None:
    with open_source(video) as source:
        whole = [frame for frame in source if frame.pts_seconds >= start_seconds]
    with open_source(video) as source:
        source.skip_to(start_seconds)
        rest = [frame for frame in source if frame.pts_seconds >= start_seconds]
        assert not source.damage.is_damaged, source.damage.summary
    assert seen(rest) == seen(whole)
    assert rest


def test_what_lies_between_is_not_decoded(tmp_path: Path) -> None:
    write_raw(tmp_path / "a.mp4", "libx264", N_FRAMES, fps=FPS, options=GROUP)
    with open_source(tmp_path / "a.mp4") as source:
        source.skip_to(20.5)
        times = [frame.pts_seconds for frame in source]
    assert 19.0 < times[0] <= 20.5
    assert times == pytest.approx([times[0] + index / FPS for index in range(len(times))])
    assert times[-1] == pytest.approx((N_FRAMES - 1) / FPS)


def test_a_video_with_one_key_frame_is_decoded_from_its_beginning(tmp_path: Path) -> None:
    write_raw(tmp_path / "a.mp4", "libx264", N_FRAMES, fps=FPS, options={"g": "1000", "keyint_min": "1000"})
    with open_source(tmp_path / "a.mp4") as source:
        source.skip_to(12.0)
        frames = [frame for frame in source if frame.pts_seconds >= 12.0]
        assert not source.damage.is_damaged
    assert [number_of(frame.image_YXC) for frame in frames] == list(range(120, 250))


@pytest.mark.parametrize("fps", [None, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("start_seconds", [0.0, 3.0, 7.77, 24.85])
def test_a_clip_is_sampled_by_a_clock_that_begins_with_it(
    tmp_path: Path, fps: float | None, start_seconds: float
) -> None:
    write_raw(tmp_path / "a.mp4", "libx264", N_FRAMES, fps=FPS, options=GROUP)
    with open_video(tmp_path / "a.mp4", fps=fps, start_seconds=start_seconds) as sampled:
        found = [frame.pts_seconds for frame in sampled]
    times = [Fraction(index, FPS) for index in range(N_FRAMES) if index / FPS >= start_seconds]
    if fps is None:
        expected = [float(time) for time in times]
    else:
        moved = [float(time) - start_seconds for time in times]
        expected = [float(times[index]) for index in nearest_to_ticks(moved, fps)]
    assert found == pytest.approx(expected)
    assert found[0] == pytest.approx(float(times[0]))


@pytest.mark.parametrize("start_seconds", [-1.0, float("nan"), float("inf")])
def test_a_start_that_is_no_time_of_a_video_is_refused(tmp_path: Path, start_seconds: float) -> None:
    with pytest.raises(ConfigError, match="start_seconds"):
        open_video(tmp_path / "a.mp4", fps=1, start_seconds=start_seconds)


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    """2.png comes before 10.png, and what is no picture is passed over."""
    from PIL import Image

    for index, image_YXC in enumerate(numbered_images(12)):
        Image.fromarray(image_YXC).save(tmp_path / f"frame_{index}.png")
    (tmp_path / "notes.txt").write_text("")
    with open_pictures(tmp_path, 3.0) as source:
        assert source.info.duration_seconds == 4.0
        frames = list(source)
    assert [number_of(frame.image_YXC) for frame in frames] == list(range(12))
    assert [frame.pts_seconds for frame in frames] == pytest.approx([index / 3 for index in range(12)])


def test_an_array_of_pictures_is_a_video(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack(list(numbered_images(9))))
    with Video(open_pictures(tmp_path / "a.npy", 1.0), fps=0.5, start_seconds=3.0) as sampled:
        assert [(frame.pts_seconds, number_of(frame.image_YXC)) for frame in sampled] == [(3, 3), (5, 5), (7, 7)]


@pytest.mark.parametrize("content", ["nothing", "text", "float", "flat", "broken"])
def test_pictures_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a"
    if content == "nothing":
        path.mkdir()
    elif content == "text":
        path.write_text("hello")
    elif content == "broken":
        path.mkdir()
        (path / "1.jpg").write_bytes(b"hello")
    else:
        with path.open("wb") as file:
            np.save(file, np.zeros((2, 4, 4, 3) if content == "float" else (2, 4), np.float32))
    with pytest.raises(SourceError) as caught:
        open_pictures(path, 1.0)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="a second"):
        open_pictures(path, 0.0)
