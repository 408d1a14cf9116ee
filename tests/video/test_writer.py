"""What was written is what is read: sizes, rates, times; and nothing half-written is left behind."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from hermes_stream.errors import ConfigError, SourceError
from hermes_stream.video import open_source, write_video

from .clips import number_of, numbered_image, numbered_images


def read_times(path: Path) -> list[float]:
    with open_source(path) as source:
        return [frame.pts_seconds for frame in source]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "ffv1"), ("a.webm", "libvpx-vp9"), ("a.ts", "libx264"), ("a.avi", "mpeg4")],
)
def test_pictures_come_back_in_order(tmp_path: Path, name: str, codec: str) -> None:
    write_video(tmp_path / name, numbered_images(12), fps=10, codec=codec)
    with open_source(tmp_path / name) as source:
        frames = list(source)
    assert [number_of(frame.image_YXC) for frame in frames] == list(range(12))
    assert [frame.pts_seconds for frame in frames] == pytest.approx([index / 10 for index in range(12)], abs=1e-3)


@pytest.mark.parametrize("fps", [29.97, 30000 / 1001, Fraction(24000, 1001), 0.5, 7.3])
def test_rates_are_not_rounded(tmp_path: Path, fps: float | Fraction) -> None:
    write_video(tmp_path / "a.mp4", numbered_images(20), fps=fps)
    assert read_times(tmp_path / "a.mp4") == pytest.approx([index / float(fps) for index in range(20)], abs=1e-9)


def test_a_float_of_ntsc_is_written_as_the_fraction(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_images(5), fps=30000 / 1001)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_variable_rate(tmp_path: Path, name: str) -> None:
    times_seconds = [0.0, 0.1, 0.5, 3.0, 3.04, 9.0]
    write_video(tmp_path / name, numbered_images(6), fps=25, times_seconds=times_seconds)
    assert read_times(tmp_path / name) == pytest.approx(times_seconds, abs=1e-3)


def test_lossless_codec_keeps_every_pixel_of_an_odd_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (31, 45, 3), dtype=np.uint8) for _ in range(3)]
    write_video(tmp_path / "a.mkv", images, fps=5, codec="ffv1")
    with open_source(tmp_path / "a.mkv") as source:
        for written_YXC, frame in zip(images, source, strict=True):
            np.testing.assert_array_equal(frame.image_YXC, written_YXC)


def test_odd_sizes_are_padded_with_their_edge(tmp_path: Path) -> None:
    image_YXC = np.full((31, 45, 3), (200, 30, 40), np.uint8)
    write_video(tmp_path / "a.mp4", [image_YXC], fps=5)
    with open_source(tmp_path / "a.mp4") as source:
        frame = next(iter(source))
    assert frame.image_YXC.shape == (32, 46, 3)
    np.testing.assert_allclose(frame.image_YXC.astype(int), (200, 30, 40) * np.ones((32, 46, 1), int), atol=6)


def test_an_open_file_becomes_an_mp4() -> None:
    file = io.BytesIO()
    write_video(file, numbered_images(4), fps=2)
    file.seek(0)
    with av.open(file) as container:
        assert "mp4" in container.format.name
        assert len(list(container.decode(video=0))) == 4


def test_pictures_are_taken_one_at_a_time(tmp_path: Path) -> None:
    alive: weakref.WeakSet[_Owner] = weakref.WeakSet()
    n_alive_at_once: list[int] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for index in range(200):
            owner = numbered_image(index).view(_Owner)
            alive.add(owner)
            n_alive_at_once.append(len(alive))
            yield owner

    write_video(tmp_path / "a.mp4", images(), fps=25)
    assert len(n_alive_at_once) == 200
    assert max(n_alive_at_once) <= 4


class _Owner(np.ndarray):  # type: ignore[type-arg]
    """A picture that can be counted while it lives."""

    __hash__ = object.__hash__


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_images(2), fps=1)
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode


def failing_images() -> Iterator[NDArray[np.uint8]]:
    yield from numbered_images(3)
    raise KeyError("mine")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyError, match="mine"):
        write_video(tmp_path / "a.mp4", failing_images(), fps=5)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.mp4", b"old")]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.mp4", {"fps": 0}, "positive rate"),
        ("a.mp4", {"fps": float("nan")}, "positive rate"),
        ("a.mp4", {"fps": 5, "codec": "no-such"}, "cannot encode with 'no-such'"),
        ("a.webm", {"fps": 5}, "cannot encode with 'libx264'"),
        ("a.nothing", {"fps": 5}, "ending"),
        ("a.mp4", {"fps": 5, "format": "no-such"}, "no-such"),
        ("a.mp4", {"fps": 5, "times_seconds": [0.0]}, "picture 1 has time None"),
        ("a.mp4", {"fps": 5, "times_seconds": [0.0, 0.0]}, "not after"),
        ("a.avi", {"fps": 5, "codec": "mpeg4", "times_seconds": [0.0, 1.0]}, "keep no times"),
    ],
)
def test_impossible_requests_are_named(tmp_path: Path, name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_video(tmp_path / name, numbered_images(2), **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no pictures"),
        ([np.zeros((4, 4), np.uint8)], r"expected uint8 \[height, width, 3\]"),
        ([np.zeros((4, 4, 3))], "expected uint8"),
        ([numbered_image(0), numbered_image(0, 32, 32)], "the first one was"),
    ],
)
def test_pictures_that_cannot_be_written_are_named(
    tmp_path: Path, images: list[NDArray[np.uint8]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_video(tmp_path / "a.mp4", images, fps=5)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="choose a folder that exists"):
        write_video(tmp_path / "nowhere" / "a.mp4", numbered_images(2), fps=5)


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(SourceError, match="choose another name"):
        write_video(tmp_path / "a.mp4", numbered_images(2), fps=5)
