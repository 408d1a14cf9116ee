"""Pictures show what the script says, at any size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import make_script, render_frame, write_episode
from hermes_stream.shapestream.render import OBJECT_RGB, object_centers
from hermes_stream.shapestream.script import ENTER_SECONDS, Presence
from hermes_stream.video.open import open_video

SIZES = [(640, 360), (48, 48), (97, 61), (360, 640), (1920, 1080), (16, 16)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_frames_are_rgb_of_the_size_asked_for(width: int, height: int) -> None:
    frame = render_frame(make_script(3, 10.0), 4.0, width, height)
    assert frame.shape == (height, width, 3)
    assert frame.dtype == np.uint8


def test_frames_are_deterministic() -> None:
    first = render_frame(make_script(3, 60.0), 31.7, 320, 180)
    assert np.array_equal(first, render_frame(make_script(3, 90.0), 31.7, 320, 180))


@pytest.mark.parametrize("size", [(320, 180), (128, 128), (48, 48)])
def test_the_object_colour_is_on_screen_where_the_script_puts_it(size: tuple[int, int]) -> None:
    """Independent of the drawing code: pixels near the object's own colour exist around each centre."""
    script = make_script(11, 120.0)
    for presence in script.presences[:12]:
        middle = _standing_moment(presence)
        frame = render_frame(script, middle, *size)
        for center in object_centers(presence, middle):
            x = round(center * size[0])
            column = frame[:, max(0, x - size[0] // 6) : x + size[0] // 6]
            assert _n_near(column, presence.kind.color) > 0.005 * size[0] * size[1], presence


def test_an_empty_room_shows_no_object_colour() -> None:
    script = make_script(11, 120.0)
    scene = next(s for s in script.scenes if s.digit is None)
    frame = render_frame(script, scene.start_seconds, 320, 180)
    assert all(_n_near(frame, color) == 0 for color in OBJECT_RGB)


def test_objects_slide_in_and_out() -> None:
    presence = next(p for p in make_script(2, 200.0).presences if p.slides_in and p.slides_out)
    for time in (presence.start_seconds, presence.end_seconds - 1e-6):
        assert all(center < -0.05 or center > 1.05 for center in object_centers(presence, time)) or presence.count > 1
    for time in (presence.start_seconds + ENTER_SECONDS, presence.end_seconds - ENTER_SECONDS):
        assert all(0.1 < center < 0.9 for center in object_centers(presence, time))


def test_moving_objects_move_in_their_direction() -> None:
    moving = [p for p in make_script(2, 400.0).presences if p.moves]
    assert moving
    for presence in moving:
        early = object_centers(presence, presence.move_start_seconds + 0.1)[0]
        late = object_centers(presence, presence.move_end_seconds - 0.1)[0]
        assert (late > early) == (presence.direction == "right")


def test_shapes_differ_after_a_resize_to_48_pixels() -> None:
    frames = {}
    for presence in make_script(7, 2000.0).presences:
        if presence.count == 1 and not presence.moves and presence.slot == "middle" and presence.size == "large":
            script = make_script(7, 2000.0)
            frame = render_frame(script, _standing_moment(presence), 640, 360)
            small = np.asarray(Image.fromarray(frame).resize((48, 48), Image.Resampling.BICUBIC))
            frames[presence.kind.shape] = _is_near(small, presence.kind.color)
    assert len(frames) == 5
    masks = list(frames.values())
    for index, mask in enumerate(masks):
        for other in masks[index + 1 :]:
            assert (mask != other).sum() > 15


def test_too_small_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match="16 pixels"):
        render_frame(make_script(1, 5.0), 1.0, 15, 40)


def test_an_episode_is_a_real_video_file(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "episode.mp4"
    script = make_script(900_000, 3.0)
    done: list[tuple[int, int]] = []
    n_frames = write_episode(script, path, fps=10, width=160, height=90, progress=lambda *at: done.append(at))
    assert n_frames == 30
    assert done[-1] == (30, 30)
    with open_video(path, fps=None) as video:
        frames = list(video)
    assert len(frames) == 30
    for frame in frames[::7]:
        truth = render_frame(script, frame.pts_seconds, 160, 90).astype(float)
        assert np.abs(frame.image_YXC - truth).mean() < 12


def test_an_episode_can_be_written_to_an_open_file() -> None:
    file = io.BytesIO()
    write_episode(make_script(4, 1.0), file, fps=5, width=64, height=48)
    assert len(file.getvalue()) > 500


def test_an_impossible_rate_is_refused(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="fps"):
        write_episode(make_script(4, 1.0), io.BytesIO(), fps=0)


def _standing_moment(presence: Presence) -> float:
    return max(presence.start_seconds + ENTER_SECONDS, presence.end_seconds - ENTER_SECONDS - 0.5)


def _is_near(image: np.ndarray, color: str) -> np.ndarray:
    distance = np.abs(image.astype(int) - np.array(OBJECT_RGB[color])).max(-1)
    return distance < 40


def _n_near(image: np.ndarray, color: str) -> int:
    return int(_is_near(image, color).sum())
