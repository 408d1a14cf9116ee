"""When frames are due, by a clock that the test turns."""

from __future__ import annotations

import math
import time

import pytest

from hermes_stream.video.pace import Pace


def test_lag_is_what_a_file_is_late_and_what_a_live_source_has_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    file, live = Pace(is_live=False), Pace(is_live=True)
    file.arrive(0.0)
    live.arrive(0.0)
    assert (file.wait_seconds(2.0), live.wait_seconds(2.0)) == (2.0, 0.0)
    now = 105.0
    file.arrive(2.0)
    live.arrive(4.5)
    assert (file.lag_seconds(2.0), live.lag_seconds(4.5)) == (3.0, 0.5)
    # A burst: the first frames had waited somewhere, which was no lag of ours.
    live.arrive(20.0)
    assert live.lag_seconds(20.0) == 0.0
    now = 107.0
    live.arrive(21.0)
    assert live.lag_seconds(21.0) == 1.0


@pytest.mark.parametrize(("speed", "waits"), [(0.5, 8.0), (1.0, 4.0), (8.0, 0.5)])
def test_speed_is_seconds_of_video_in_a_second(monkeypatch: pytest.MonkeyPatch, speed: float, waits: float) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 50.0)
    pace = Pace(is_live=False, speed=speed)
    pace.arrive(10.0)
    assert pace.wait_seconds(14.0) == waits
    assert pace.lag_seconds(14.0) == -waits


def test_at_speed_0_everything_is_due() -> None:
    pace = Pace(is_live=False, speed=0.0)
    pace.arrive(0.0)
    assert pace.wait_seconds(1e9) == 0.0
    assert pace.lag_seconds(1e9) == math.inf
