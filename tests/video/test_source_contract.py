"""What every `VideoSource` promises; a new kind of source is enrolled by one line in `SOURCES`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hermes_stream.types import Frame
from hermes_stream.video import MemorySource, VideoSource, open_source, write_video

from .clips import number_of, numbered_images

N_FRAMES = 12


def open_file(folder: Path) -> VideoSource:
    write_video(folder / "a.mp4", numbered_images(N_FRAMES), fps=10)
    return open_source(folder / "a.mp4")


def open_file_as_live(folder: Path) -> VideoSource:
    write_video(folder / "a.ts", numbered_images(N_FRAMES), fps=10)
    return open_source(folder / "a.ts", live=True)


def open_memory(folder: Path) -> VideoSource:
    return MemorySource(Frame(index / 10, image_YXC) for index, image_YXC in enumerate(numbered_images(N_FRAMES)))


SOURCES: dict[str, Callable[[Path], VideoSource]] = {
    "file": open_file,
    "live": open_file_as_live,
    "memory": open_memory,
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> VideoSource:
    return SOURCES[request.param](tmp_path)


def test_pictures_come_in_order_and_once(source: VideoSource) -> None:
    with source:
        assert [number_of(frame.image_YXC) for frame in source] == list(range(N_FRAMES))
        assert list(source) == []


def test_times_start_at_zero_and_increase(source: VideoSource) -> None:
    with source:
        times_seconds = [frame.pts_seconds for frame in source]
    assert times_seconds == pytest.approx([index / 10 for index in range(N_FRAMES)])


def test_pictures_are_rgb_of_the_size_in_info(source: VideoSource) -> None:
    with source:
        frame = next(iter(source))
        assert frame.image_YXC.dtype == np.uint8
        assert frame.image_YXC.shape == (source.info.height, source.info.width, 3)


def test_lazy_and_converted_frames_share_one_position(source: VideoSource) -> None:
    with source:
        first, second = next(source.lazy_frames()), next(iter(source))
        third = next(source.lazy_frames()).to_frame()
    assert [number_of(image_YXC) for image_YXC in (first.load_YXC(), second.image_YXC, third.image_YXC)] == [0, 1, 2]


def test_a_whole_source_is_undamaged(source: VideoSource) -> None:
    with source:
        assert len(list(source)) == N_FRAMES
        assert not source.damage.is_damaged


def test_iteration_ends_when_closed(source: VideoSource) -> None:
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []
    assert list(source.lazy_frames()) == []
