"""`open_video`: sampled frames, in batches or one by one, from files, devices and the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hermes_stream.errors import ConfigError
from hermes_stream.types import Frame
from hermes_stream.video import MemorySource, Video, open_source, open_video, write_video
from hermes_stream.video import open as open_module
from hermes_stream.video.decoding import RgbConverter

from .clips import number_of, numbered_images
from .test_prefetch import PATIENCE_SECONDS, wait_until


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at 24 fps; picture `i` says `i`."""
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_video(path, numbered_images(96), fps=24)
    return path


def n_prefetch_threads() -> int:
    return sum(thread.name == "hermes-prefetch" for thread in threading.enumerate())


def test_one_frame_a_second(clip: Path) -> None:
    with open_video(clip, fps=1) as video:
        frames = list(video)
    assert [frame.pts_seconds for frame in frames] == [0.0, 1.0, 2.0, 3.0]
    assert [number_of(frame.image_YXC) for frame in frames] == [0, 24, 48, 72]


@pytest.mark.parametrize("fps", [None, 0])
def test_every_frame(clip: Path, fps: float | None) -> None:
    with open_video(str(clip), fps=fps, prefetch_frames=3) as video:
        assert [number_of(frame.image_YXC) for frame in video] == list(range(96))
        assert video.n_dropped == 0


@pytest.mark.parametrize("prefetch_frames", [1, 2, 500])
def test_prefetching_changes_nothing(clip: Path, prefetch_frames: int) -> None:
    with open_source(clip) as source:
        alone = [frame.image_YXC for frame in source][::2]
    with open_video(clip, fps=12, prefetch_frames=prefetch_frames) as video:
        ahead = [frame.image_YXC for frame in video]
    np.testing.assert_array_equal(np.stack(ahead), np.stack(alone))


def test_batches_end_with_a_shorter_one(clip: Path) -> None:
    with open_video(clip, fps=6) as video:
        batches = list(video.batches(10))
    assert [len(batch) for batch in batches] == [10, 10, 4]
    assert [frame.pts_seconds for batch in batches for frame in batch] == pytest.approx([k / 6 for k in range(24)])


def test_batches_go_on_where_iteration_stopped(clip: Path) -> None:
    with open_video(clip, fps=1) as video:
        first = next(iter(video))
        assert [len(batch) for batch in video.batches(2)] == [2, 1]
    assert first.pts_seconds == 0.0


def test_frames_not_sampled_are_never_converted(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_converted = 0
    convert = RgbConverter.convert

    def counting(converter: RgbConverter, picture: object) -> NDArray[np.uint8]:
        nonlocal n_converted
        n_converted += 1
        return convert(converter, picture)

    monkeypatch.setattr(RgbConverter, "convert", counting)
    with open_video(clip, fps=1) as video:
        assert len(list(video)) == n_converted == 4


def test_closing_early_ends_thread_and_iteration(clip: Path) -> None:
    video = open_video(clip, fps=None, prefetch_frames=2)
    frames = iter(video)
    next(frames)
    video.close()
    video.close()
    assert list(frames) == []
    assert n_prefetch_threads() == 0


def test_a_forgotten_video_leaves_no_thread(clip: Path) -> None:
    assert next(iter(open_video(clip, fps=None, prefetch_frames=2))).pts_seconds == 0.0
    wait_until(lambda: n_prefetch_threads() == 0)


@pytest.mark.parametrize("options", [{"fps": -1}, {"fps": 1, "prefetch_frames": 0}])
def test_impossible_numbers_are_refused_before_opening(clip: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        open_video(clip, **options)  # type: ignore[arg-type]
    assert n_prefetch_threads() == 0


def test_empty_batches_are_refused(clip: Path) -> None:
    with open_video(clip, fps=1) as video, pytest.raises(ConfigError, match="batch of 0"):
        video.batches(0)


def test_a_device_is_live_and_has_no_end() -> None:
    with open_video("lavfi:testsrc=size=64x48:rate=30", fps=10) as video:
        assert video.info.is_live
        assert video.info.duration_seconds is None
        frames = iter(video)
        taken = [next(frames) for _ in range(5)]
    assert taken[0].image_YXC.shape == (48, 64, 3)
    assert all(before.pts_seconds < after.pts_seconds for before, after in pairwise(taken))


def test_a_live_source_drops_what_is_not_taken_and_counts_it() -> None:
    with open_video("lavfi:testsrc=size=64x48:rate=30", fps=10, prefetch_frames=4) as video:
        wait_until(lambda: video.n_dropped > 20)
        assert next(iter(video)).pts_seconds >= 2.0


def test_live_can_be_overruled(clip: Path) -> None:
    with open_video("lavfi:testsrc=size=64x48:rate=30:duration=3", fps=10, live=False, prefetch_frames=4) as video:
        time.sleep(0.05)
        assert len(list(video)) == 30
        assert video.n_dropped == 0
    with open_video(clip, fps=None, live=True, prefetch_frames=2) as video:
        assert video.info.is_live
        wait_until(lambda: video.n_dropped == 94)
        assert [number_of(frame.image_YXC) for frame in video] == [94, 95]


def test_large_pictures_wait_in_smaller_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_module, "_MAX_PREFETCH_BYTES", 5 * 64 * 48 * 3)
    n_made = 0

    def frames() -> Iterator[Frame]:
        nonlocal n_made
        for index, image_YXC in enumerate(numbered_images(50)):
            n_made += 1
            yield Frame(index / 10, image_YXC)

    with Video(MemorySource(frames()), fps=None, prefetch_frames=30) as video:
        wait_until(lambda: n_made == 6)
        time.sleep(0.05)
        assert n_made == 6
        assert len(list(video)) == 50


def test_frames_arrive_while_later_ones_are_still_to_come() -> None:
    may_go_on = threading.Event()

    def frames() -> Iterator[Frame]:
        for index, image_YXC in enumerate(numbered_images(4)):
            if index == 2:
                may_go_on.wait(PATIENCE_SECONDS)
            yield Frame(float(index), image_YXC)

    with Video(MemorySource(frames(), is_live=True), fps=1) as video:
        stream = iter(video)
        assert [next(stream).pts_seconds, next(stream).pts_seconds] == [0.0, 1.0]
        assert not may_go_on.is_set()
        may_go_on.set()
        assert [frame.pts_seconds for frame in stream] == [2.0, 3.0]
