"""Small pictures by time: the nearest is found, those that nobody needs go, all survive being saved."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hermes_stream.server.state.thumbnails import Thumbnails, to_jpeg
from hermes_stream.types import Frame

TIMES = st.lists(st.floats(0, 1000, allow_nan=False), min_size=1, max_size=200, unique=True).map(sorted)


def frame(time: float, value: int = 0) -> Frame:
    return Frame(time, np.full((90, 640, 3), value, dtype=np.uint8))


def pictures(times: list[float]) -> Thumbnails:
    return Thumbnails({time: str(time).encode() for time in times})


@given(times=TIMES, asked=st.floats(-10, 1010, allow_nan=False))
def test_the_nearest_is_found(times: list[float], asked: float) -> None:
    found = pictures(times).nearest(asked)
    assert found is not None
    assert abs(found[0] - asked) == min(abs(time - asked) for time in times)
    assert found[1] == str(found[0]).encode()


@given(times=TIMES, start=st.floats(0, 1000), end=st.floats(0, 1000))
def test_forgetting_and_cutting_keep_what_is_outside(times: list[float], start: float, end: float) -> None:
    thumbnails = pictures(times)
    assert thumbnails.until(end).times == [time for time in times if time <= end]
    n_gone = thumbnails.forget(start, end)
    assert thumbnails.times == [time for time in times if not start <= time < end]
    assert n_gone == len(times) - len(thumbnails)


@given(times=TIMES)
def test_saved_ones_are_the_same(times: list[float]) -> None:
    thumbnails = pictures(times)
    again = Thumbnails.from_bytes(thumbnails.to_bytes())
    assert again.times == times
    assert all(again.nearest(time) == thumbnails.nearest(time) for time in times)


def test_what_is_held_stays_and_the_rest_is_thinned() -> None:
    times = [float(i) for i in range(10_000)]
    thumbnails = pictures(times)
    thumbnails.keep({17.0, 4_321.0})
    assert {17.0, 4_321.0, 9_999.0, 0.0} <= set(thumbnails.times)
    assert len(thumbnails) < 200
    for _ in range(3):
        thumbnails.keep({17.0})
    assert len(thumbnails) < 200


def test_however_many_are_held_there_is_an_end() -> None:
    times = [float(i) for i in range(10_000)]
    thumbnails = pictures(times)
    thumbnails.keep(set(times))
    assert len(thumbnails) <= 4096


def test_pictures_are_small_jpegs_of_the_frame() -> None:
    thumbnails = Thumbnails()
    thumbnails.add(frame(1.0, 200))
    found = thumbnails.nearest(1.0)
    assert found is not None
    image = Image.open(io.BytesIO(found[1]))
    assert (image.format, image.size) == ("JPEG", (192, 27))
    assert abs(int(np.asarray(image).mean()) - 200) < 3
    assert Image.open(io.BytesIO(to_jpeg(frame(0.0)))).size == (640, 90)


def test_there_is_none_before_the_first() -> None:
    assert Thumbnails().nearest(1.0) is None
