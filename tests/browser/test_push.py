"""Frames that the page itself brings: a video file, the camera."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from hermes_stream.shapestream import Viewpoint, is_right, make_script, write_episode
from tests.browser.conftest import OpenPage, delete_sessions, watched_page
from tests.browser.test_demo import seconds_of
from tests.server.conftest import RunningServer, server_process

pytestmark = pytest.mark.browser

_SECONDS = 9
_SEED = 900_007


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_episode(make_script(_SEED, _SECONDS), path, fps=12, width=320, height=180)
    return path


def ask(page: Page, question: str) -> tuple[float, str]:
    """The answer and its time."""
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_label("Question", exact=True).press("Enter")
    card = page.locator("#answers .card").first
    expect(card.locator(".column").first).to_have_attribute("data-state", "done")
    at = re.search(r"at\s([\d:.]+)", card.locator(".meta").first.inner_text())
    assert at is not None
    return seconds_of(at[1]), card.locator(".answer").first.inner_text()


def test_a_file_is_pushed_at_its_pace_and_ends(open_page: OpenPage, server: RunningServer, clip: Path) -> None:
    page = open_page()
    page.set_input_files("#file", clip)
    expect(page.locator("#screen video")).to_be_visible()
    expect(page.locator("#watch-title")).to_have_text("clip.mp4")
    expect(page.locator("#state")).to_have_text("Ended", timeout=25_000)
    (session,) = server.http.get("/v1/sessions").json()["data"]
    assert session["frames_seen"] >= _SECONDS - 1
    assert session["time_s"] == pytest.approx(_SECONDS - 1, abs=1.0)
    at, answer = ask(page, "What object came first?")
    view = Viewpoint(make_script(_SEED, 120), at, session["fps"])
    assert is_right(answer, str(view.begun[0].kind))


def test_a_camera_goes_on_after_a_reload_and_the_hole_is_told(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="This camera").click()
    expect(page.locator("#facts")).to_contain_text(re.compile(r"^[3-9] frames seen"), timeout=20_000)
    page.reload()
    expect(page.locator("#state")).to_have_text("Nothing arrives")
    # Longer than the distance of two frames.
    page.wait_for_timeout(3_000)
    page.get_by_role("button", name="this camera").click()
    expect(page.locator("#state")).to_have_text("Live")
    expect(page.locator("#screen video")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("1 gap", timeout=15_000)


def test_two_memories_see_the_same_pushed_frames(open_page: OpenPage, server: RunningServer) -> None:
    page = open_page()
    page.get_by_role("button", name="This camera").click()
    expect(page.locator("#facts")).to_contain_text(re.compile(r"^[2-9] frames seen"))
    page.get_by_role("button", name="Compare").click()
    page.get_by_label("The other memory", exact=True).select_option("uniform")
    page.get_by_role("button", name="Compare", exact=True).last.click()
    expect(page.locator(".map h3")).to_have_text(["hermes", "uniform"])
    page.wait_for_timeout(4_000)
    first, second = (
        server.http.get(f"/v1/sessions/{s['id']}").json() for s in server.http.get("/v1/sessions").json()["data"]
    )
    assert second["frames_seen"] >= 2
    assert first["time_s"] == pytest.approx(second["time_s"], abs=1.1)


def test_a_camera_comes_back_to_a_server_that_was_killed(browser: Browser, tmp_path: Path) -> None:
    """Without a word of the person; what nobody saw meanwhile is a gap."""
    saved = ("--state-dir", tmp_path, "--save-seconds", "1")
    with server_process(*saved) as first:
        expected = "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|WebSocket connection to"
        with watched_page(browser, first, expected=expected) as watched:
            page = watched.page
            page.get_by_role("button", name="This camera").click()
            expect(page.locator("#facts")).to_contain_text(re.compile(r"^[4-9] frames seen"), timeout=20_000)
            page.wait_for_timeout(2_000)
            first.end(signal.SIGKILL)
            # Longer than the distance of two frames.
            page.wait_for_timeout(2_000)
            with server_process(*saved, port=int(first.address.rpartition(":")[2])) as second:
                (before,) = second.http.get("/v1/sessions").json()["data"]
                expect(page.locator("#toasts")).to_contain_text("Connected again")
                expect(page.locator("#facts")).to_contain_text("1 gap", timeout=20_000)
                (after,) = second.http.get("/v1/sessions").json()["data"]
                assert after["frames_seen"] > before["frames_seen"] > 0
                delete_sessions(second)
