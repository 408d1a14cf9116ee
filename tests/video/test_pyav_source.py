"""Files of many kinds: times, rotation, colours, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from hermes_stream.video import open_source, write_video
from hermes_stream.video.decoding import turned_counterclockwise

from .clips import number_of, numbered_image, numbered_images, write_raw

N_FRAMES = 30


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mov", "mpeg4", {}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": "20"}),
        ("a.ts", "libx264", {}),
        ("a.mpg", "mpeg2video", {"bf": "2"}),
        ("a.flv", "flv", {}),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.gif", "gif", {}),
        ("a.h264", "libx264", {}),
    ],
)
def test_any_container_gives_its_pictures_in_order_and_time(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    if codec == "gif":
        write_video(tmp_path / name, numbered_images(N_FRAMES), fps=25, codec=codec)
    else:
        write_raw(tmp_path / name, codec, N_FRAMES, options=options)
    with open_source(tmp_path / name) as source:
        frames = list(source)
        assert not source.damage.is_damaged, source.damage.summary
    assert [number_of(frame.image_YXC) for frame in frames] == list(range(N_FRAMES))
    assert [frame.pts_seconds for frame in frames] == pytest.approx(
        [index / 25 for index in range(N_FRAMES)], abs=1.1e-3
    )


def test_h264_in_avi_whose_time_stamps_are_those_of_decoding_order(tmp_path: Path) -> None:
    """Its pictures come in order, with stamps such as 1, 3, 2, 6, 5: dropping those that go back would lose a third."""
    write_raw(tmp_path / "a.avi", "libx264", 100, options={"bf": "3"}, is_noisy=True)
    with open_source(tmp_path / "a.avi") as source:
        times_seconds = [frame.pts_seconds for frame in source]
    assert len(times_seconds) >= 98
    error_seconds = [abs(seconds - index / 25) for index, seconds in enumerate(times_seconds)]
    assert max(error_seconds) <= 3 / 25


def test_times_start_at_zero_when_stamps_do_not(tmp_path: Path) -> None:
    write_raw(tmp_path / "a.mkv", "libx264", 10, first_pts=250)
    with open_source(tmp_path / "a.mkv") as source:
        assert [frame.pts_seconds for frame in source] == pytest.approx([index / 25 for index in range(10)], abs=1e-3)
        assert not source.damage.is_damaged, source.damage.summary


def test_info_of_a_file(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_images(20), fps=10)
    with open_source(tmp_path / "a.mp4") as source:
        info = source.info
    assert (info.width, info.height, info.codec, info.is_live) == (64, 48, "h264", False)
    assert info.url == str(tmp_path / "a.mp4")
    assert info.duration_seconds == pytest.approx(2.0)
    assert info.average_fps == pytest.approx(10)


def test_containers_that_do_not_count_their_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.webm", numbered_images(20), fps=10, codec="libvpx-vp9")
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.streams.video[0].frames == 0
    with open_source(tmp_path / "a.webm") as source:
        assert len(list(source)) == 20
        assert source.info.duration_seconds == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("rotation_degrees", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, name: str, rotation_degrees: int) -> None:
    """The stored picture has its white columns; upright it is turned counterclockwise by the angle."""
    write_raw(tmp_path / name, "libx264", 3, rotation_degrees=rotation_degrees)
    with open_source(tmp_path / name) as source:
        image_YXC = list(source)[-1].image_YXC
        assert (source.info.height, source.info.width) == image_YXC.shape[:2]
    stored_YXC = np.rot90(image_YXC, -rotation_degrees // 90)
    assert stored_YXC.shape == (48, 64, 3)
    assert number_of(stored_YXC) == 2
    assert image_YXC.flags.c_contiguous


@pytest.mark.parametrize(
    "matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)], ids=["clockwise", "upside down", "counterclockwise"]
)
def test_rotation_is_that_of_the_matrix_in_the_file(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """By the definition of ISO 14496-12: the pixel (x, y) is shown at (a x + c y, b x + d y), y pointing down."""
    a, b, c, d = matrix
    stored_YXC = numbered_image(0).copy()
    stored_YXC[8:16, 8:32] = 255
    write_raw(tmp_path / "a.mp4", "libx264", 1, images=[stored_YXC], display_matrix=(a, b, 0, c, d, 0, 0, 0, 1))
    with open_source(tmp_path / "a.mp4") as source:
        shown_YXC = next(iter(source)).image_YXC
    corners_x, corners_y = np.array([0, 64]), np.array([0, 48])
    left = min((a * x + c * y) for x in corners_x for y in corners_y)
    top = min((b * x + d * y) for x in corners_x for y in corners_y)
    expected_YX = np.zeros(shown_YXC.shape[:2])
    for x, y in np.ndindex(64, 48):
        expected_YX[int(b * (x + 0.5) + d * (y + 0.5) - top), int(a * (x + 0.5) + c * (y + 0.5) - left)] = stored_YXC[
            y, x, 0
        ]
    np.testing.assert_allclose(shown_YXC[:, :, 0], expected_YX, atol=20)


@pytest.mark.parametrize(
    ("rotation_degrees", "expected"),
    [
        (0, [[1, 2], [3, 4]]),
        (90, [[2, 4], [1, 3]]),
        (-90, [[3, 1], [4, 2]]),
        (180, [[4, 3], [2, 1]]),
        (-180, [[4, 3], [2, 1]]),
        (270, [[3, 1], [4, 2]]),
        (91.5, [[2, 4], [1, 3]]),
    ],
)
def test_turning_by_hand(rotation_degrees: float, expected: list[list[int]]) -> None:
    image_YXC = np.array([[1, 2], [3, 4]], np.uint8)[:, :, None]
    assert turned_counterclockwise(image_YXC, rotation_degrees)[:, :, 0].tolist() == expected


def test_the_sound_of_a_video_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=8000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for index, image_YXC in enumerate(numbered_images(10)):
            frame = av.VideoFrame.from_ndarray(image_YXC, format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux([*video.encode(None), *sound.encode(samples), *sound.encode(None)])
    with open_source(path) as source:
        assert len(list(source)) == 10
        assert not source.damage.is_damaged, source.damage.summary


def test_a_name_with_a_colon_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "12:30 talk.mp4"
    write_video(path, numbered_images(3), fps=5)
    with open_source(str(path)) as source:
        assert len(list(source)) == 3
    with open_source(path.as_uri()) as source:
        assert len(list(source)) == 3


def test_a_still_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.png", numbered_images(1), fps=1, codec="png", format="image2")
    with open_source(tmp_path / "a.png") as source:
        assert [frame.pts_seconds for frame in source] == [0.0]
