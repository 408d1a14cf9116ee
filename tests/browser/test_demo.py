"""The demo from its one click to its alert, in one page that the tests look at in turn."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from hermes_stream.shapestream import Script, Viewpoint, is_right, make_script
from tests.browser.conftest import watched_page
from tests.server.conftest import RunningServer

pytestmark = pytest.mark.browser

SEED = 900_001
FPS = 1.0
_QUESTION = "What object is visible now?"
# A red ring comes after eleven seconds.
_STANDING = "Is a red ring visible now?"


@pytest.fixture(scope="module")
def script() -> Script:
    return make_script(SEED, 120)


@pytest.fixture(scope="module")
def demo(browser: Browser, server: RunningServer) -> Iterator[Page]:
    """The page after its one click, with a standing question that nothing has answered yet."""
    with watched_page(browser, server, viewport={"width": 1440, "height": 900}) as watched:
        page = watched.page
        page.get_by_role("button", name="The demo world").click()
        page.get_by_label("Standing question", exact=True).fill(_STANDING)
        page.get_by_label("Add the standing question").click()
        yield page
        page.get_by_role("button", name="Delete", exact=True).click()
        page.locator("#confirm-yes").click()
        expect(page.get_by_role("button", name="The demo world")).to_be_visible()


def seconds_of(clock: str) -> float:
    parts = [float(part) for part in clock.split(":")]
    return parts[0] * 60 + parts[1]


def test_one_click_shows_a_live_stream(demo: Page) -> None:
    expect(demo.locator("#state")).to_have_text("Live")
    expect(demo.locator("#picture")).to_be_visible()
    assert demo.locator("#picture").evaluate("(image) => image.naturalWidth") == 640


def test_an_answer_is_right_at_its_time(demo: Page, script: Script) -> None:
    """Asked while something is settled on screen, it names that; the time on the card says when that was."""
    card = None
    for _ in range(20):
        demo.get_by_role("button", name=_QUESTION).click()
        card = demo.locator("#answers .card").first
        expect(card.locator(".column")).to_have_attribute("data-state", "done")
        at = re.search(r"at\s([\d:.]+)", card.locator(".meta").inner_text())
        assert at is not None
        view = Viewpoint(script, seconds_of(at[1]), FPS)
        if view.is_settled and view.current is not None:
            assert is_right(card.locator(".answer").inner_text(), str(view.current.kind))
            return
        time.sleep(0.5)
    pytest.fail("nothing was settled on screen for ten seconds")


def test_an_answer_tells_its_delay_and_shows_its_evidence(demo: Page) -> None:
    card = demo.locator("#answers .card").first
    expect(card.locator(".meta")).to_contain_text(re.compile(r"first\sword\s[\d.]+\sm?s"))
    thumbs = card.locator(".evidence .thumb")
    expect(thumbs.first).to_be_visible()
    thumbs.first.click()
    moment = demo.get_by_role("dialog")
    expect(moment).to_contain_text("attention to frames")
    expect(moment.locator("img")).to_have_js_property("complete", True)
    demo.keyboard.press("Escape")
    expect(moment).to_be_hidden()


def test_several_questions_are_answered_at_once(demo: Page) -> None:
    n_before = demo.locator("#answers .card").count()
    box = demo.get_by_label("Question", exact=True)
    for question in ("Which room is this?", "What color is the object?", "What shape is the object?"):
        box.fill(question)
        box.press("Enter")
    expect(demo.locator("#answers .column[data-state=done]")).to_have_count(n_before + 3)


def test_a_standing_question_hits_when_it_comes_true(demo: Page, script: Script) -> None:
    hit = demo.locator("#alerts .hits .thumb").first
    expect(hit).to_be_visible(timeout=40_000)
    kind = "red ring"
    presence = next(each for each in script.presences if str(each.kind) == kind)
    at = seconds_of(hit.locator(".time").inner_text())
    # The clock on it is cut to seconds.
    assert presence.start_seconds - 1 <= at <= presence.end_seconds
    hit.click()
    expect(demo.get_by_role("dialog")).to_contain_text(_STANDING)
    demo.keyboard.press("Escape")


def test_the_map_says_what_is_held(demo: Page) -> None:
    surface = demo.locator(".map .surface")
    surface.focus()
    surface.press("ArrowLeft")
    expect(demo.locator(".map .tip")).to_contain_text(re.compile(r"layer 0, shallow\s\d+ % of the frame held"))
    demo.get_by_text("As a table").click()
    expect(demo.locator(".as-table tbody tr")).to_have_count(10)
    demo.get_by_text("As a table").click()


def test_charts_follow_the_stream(demo: Page) -> None:
    expect(demo.get_by_role("img", name=re.compile(r"^Held, tokens a layer: \d+"))).to_be_visible()
    expect(demo.get_by_role("img", name=re.compile(r"^First word.*\d m?s"))).to_be_visible()


def test_a_reload_loses_nothing(demo: Page) -> None:
    answers = demo.locator("#answers .answer").all_inner_texts()
    address = demo.url
    demo.reload()
    expect(demo.locator("#answers .card")).to_have_count(len(answers))
    assert sorted(demo.locator("#answers .answer").all_inner_texts()) == sorted(answers)
    expect(demo.locator("#alerts .hits .thumb").first).to_be_visible()
    expect(demo.locator("#state")).to_have_text("Live")
    assert demo.url == address
    assert int(demo.locator("#facts").inner_text().split()[0]) > 10
