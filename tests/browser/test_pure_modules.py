"""The page's functions that touch no page, called in the browser and compared with oracles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

from tests.browser.conftest import watched_page
from tests.oracles import page_oracle
from tests.server.conftest import RunningServer

pytestmark = pytest.mark.browser

Call = Callable[..., Any]
SECONDS = st.floats(0, 200_000, allow_nan=False).map(lambda value: round(value, 3))
SHARES = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@pytest.fixture(scope="module")
def call(browser: Browser, server: RunningServer) -> Iterator[Call]:
    """Run an expression in which `m` is a module of the page and `a` the arguments."""
    with watched_page(browser, server) as watched:

        def run(module: str, expression: str, *arguments: object) -> Any:
            script = f"async (a) => {{ const m = await import('/web/js/{module}.js'); return {expression}; }}"
            return watched.page.evaluate(script, list(arguments))

        yield run


@settings(max_examples=30, deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=40), st.integers(0, 2))
def test_clock_cuts_and_never_shows_sixty_seconds(call: Call, seconds: list[float], n_digits: int) -> None:
    shown = call("times", "a[0].map((t) => m.clock(t, a[1]))", seconds, n_digits)
    assert shown == [page_oracle.clock(each, n_digits) for each in seconds]


def test_sizes_are_said_as_people_say_them(call: Call) -> None:
    assert call("times", "[0, 1023, 1024, 1536, 25165824, 2 ** 31].map(m.bytes)") == [
        "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "24 MiB", "2.0 GiB",
    ]  # fmt: skip
    assert call("times", "[8.44, 38.2, 1239].map(m.milliseconds)") == ["8.4 ms", "38 ms", "1.24 s"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["event: answer", "data: {}", "data:a: b", "data", "id: 7", ": ping", "", "", "retry: 3"]),
        max_size=20,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 7),
)
def test_events_do_not_depend_on_how_their_text_is_cut(call: Call, lines: list[str], end: str, n_chars: int) -> None:
    text = "".join(line + end for line in [*lines, "data: last", "", ""])
    pieces = [text[i : i + n_chars] for i in range(0, len(text), n_chars)]
    # A last carriage return may be half of a line's end: something must follow it.
    parsed = call(
        "sse", "(() => { const p = new m.EventParser(); return a[0].flatMap((t) => p.push(t)); })()", [*pieces, ":"]
    )
    assert parsed == page_oracle.sent_events(text + ":")


@settings(max_examples=30, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.binary(max_size=64))
def test_pushed_frames_are_what_the_server_reads(call: Call, pts_seconds: float, picture: bytes) -> None:
    made = call(
        "frame", "[...new Uint8Array(m.encodeFrame(a[0], new Uint8Array(a[1]).buffer))]", pts_seconds, list(picture)
    )
    assert bytes(made) == page_oracle.pushed_frame(pts_seconds, picture)


@settings(max_examples=60, deadline=None)
@given(SECONDS)
def test_the_whole_span_holds_now_and_is_at_least_half_full(call: Call, now: float) -> None:
    span = call("timeline", "m.spanOf(a[0])", now)
    assert span["startSeconds"] == 0
    assert now <= span["endSeconds"] <= max(15, 2 * now)


@settings(max_examples=60, deadline=None)
@given(SECONDS, st.sampled_from([60, 300]))
def test_a_span_of_the_last_seconds_moves_in_steps(call: Call, now: float, last: int) -> None:
    span = call("timeline", "m.spanOf(a[0], a[1])", now, last)
    assert span["endSeconds"] - span["startSeconds"] == pytest.approx(last)
    assert now <= span["endSeconds"] + 1e-6
    assert span["endSeconds"] % (last / 6) == pytest.approx(0, abs=1e-6)
    assert span["endSeconds"] - now < last / 6 or span["startSeconds"] == 0


@settings(max_examples=60, deadline=None)
@given(SECONDS, st.integers(2, 14))
def test_ticks_are_even_few_and_in_the_span(call: Call, now: float, n_most: int) -> None:
    span = call("timeline", "m.spanOf(a[0])", now)
    ticks = call("timeline", "m.ticksOf(a[0], a[1])", span, n_most)
    assert 1 <= len(ticks) <= n_most + 1
    assert span["startSeconds"] <= ticks[0]
    assert ticks[-1] <= span["endSeconds"]
    assert len({round(b - a, 6) for a, b in pairwise(ticks)}) <= 1


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 400), min_size=1, max_size=60), st.sampled_from([0.5, 1.0, 2.0]), st.integers(50, 900))
def test_columns_stand_where_their_frames_do(call: Call, numbers: set[int], step: float, width: int) -> None:
    frames = sorted(numbers)
    times = [frame * step for frame in frames]
    span = {"startSeconds": 0, "endSeconds": 401 * step}
    found = call("timeline", "m.stepOf(a[0], a[1], 9)", frames, times)
    assert found == (step if len(frames) > 1 else 9)
    columns = call("timeline", "m.columnsOf(a[0], a[1], m.scaleOf(a[2], a[3]))", times, step, span, width)
    for frame, (left, right) in zip(frames, columns, strict=True):
        assert abs(left - frame * width / 401) <= 0.5 + 1e-6
        assert right == max(round_half_up((frame + 1) * width / 401), left + 1)


def round_half_up(value: float) -> int:
    return int(value + 0.5 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 60), min_size=1, max_size=20), st.floats(-5, 70), st.sampled_from([0.0, 0.6, 3.0]))
def test_the_frame_under_a_pointer_is_the_nearest(call: Call, numbers: set[int], time: float, reach: float) -> None:
    times = sorted(float(number) for number in numbers)
    distances = [max(start - time, time - (start + 1.0), 0.0) for start in times]
    best = min(distances)
    expected = -1 if best > reach else max(i for i, distance in enumerate(distances) if distance == best)
    assert call("timeline", "m.frameAt(a[0], 1, a[1], a[2])", times, time, reach) == expected


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_cells_that_lost_tokens_are_found(call: Call, data: st.DataObject) -> None:
    def memory() -> list[tuple[int, list[float]]]:
        frames = sorted(data.draw(st.sets(st.integers(0, 12), max_size=6)))
        return [(frame, data.draw(st.lists(SHARES, min_size=3, max_size=3))) for frame in frames]

    before, after = memory(), memory()
    found = call("evictions", "m.lossesBetween(a[0], a[1])", _as_sent(before), _as_sent(after))
    assert {(round(each["timeSeconds"] / 2), each["layer"]) for each in found} == page_oracle.losses(before, after)


def _as_sent(memory: list[tuple[int, list[float]]]) -> dict[str, object]:
    """A memory as the server gives it, two seconds a frame."""
    frames = [frame for frame, _ in memory]
    shares = [[row[layer] for _, row in memory] for layer in range(3)]
    return {"layers": 3, "frames": frames, "times_s": [2.0 * frame for frame in frames], "shares": shares}


def test_budgets_are_tokens_or_bytes(call: Call) -> None:
    assert call("settings_form", "[' 256 ', '4MiB', ' '].map((t) => m.budgetOf(t) ?? null)") == [256, "4MiB", None]
