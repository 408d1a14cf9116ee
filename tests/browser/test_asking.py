"""Questions that take long, fail, or belong together; a server that is away or wants a key; a session that is gone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.conftest import OpenPage
from tests.server.conftest import RunningServer

pytestmark = pytest.mark.browser


@pytest.fixture
def watched(server: RunningServer) -> str:
    """Path of the page with a session that watches the demo."""
    session = server.http.post("/v1/sessions", json={"source": "shapestream:900001"}).json()
    return f"/#/s/{session['id']}"


def ask(page: Page, question: str) -> None:
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_label("Question", exact=True).press("Enter")


def test_an_answer_that_takes_long_can_be_cancelled(open_page: OpenPage, watched: str) -> None:
    page = open_page(watched)
    unanswered: list[Route] = []
    page.route(re.compile(r"/ask$"), lambda route: unanswered.append(route))
    ask(page, "Which room is this?")
    card = page.locator("#answers .card").first
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/ask")):
        card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".column")).to_have_attribute("data-state", "cancelled")
    expect(card.get_by_role("button", name="Cancel")).to_be_hidden()
    assert len(unanswered) == 1


def test_a_question_that_is_refused_says_why(open_page: OpenPage, watched: str) -> None:
    page = open_page(watched, expected="status of 4")
    expect(page.locator("#picture")).to_be_visible()
    ask(page, "word " * 700)
    card = page.locator("#answers .card").first
    expect(card.locator(".column")).to_have_attribute("data-state", "failed")
    expect(card.locator(".answer")).to_contain_text("position")


def test_follow_ups_share_a_dialogue_and_others_do_not(open_page: OpenPage, watched: str) -> None:
    page = open_page(watched)
    expect(page.locator("#picture")).to_be_visible()
    sent: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/ask"):
            sent.append(request.post_data_json)

    page.on("request", note)
    expect(page.get_by_label("Follow up")).to_be_disabled()
    ask(page, "Which room is this?")
    page.get_by_label("Follow up").check()
    page.get_by_label("Remember").check()
    ask(page, "What color is the object?")
    page.get_by_label("Follow up").uncheck()
    ask(page, "What shape is the object?")
    expect(page.locator("#answers .column[data-state=done]")).to_have_count(3)
    dialogues = [body["dialogue"] for body in sent]
    assert dialogues[0] == dialogues[1] != dialogues[2]
    assert [body["remember"] for body in sent] == [False, True, True]


def test_questions_of_others_are_shown_too(open_page: OpenPage, server: RunningServer, watched: str) -> None:
    page = open_page(watched)
    expect(page.locator("#picture")).to_be_visible()
    answer = server.http.post(
        f"/v1/sessions/{watched.rpartition('/')[2]}/ask", json={"question": "Which room is this?"}
    )
    expect(page.locator("#answers .answer")).to_have_text(answer.json()["answer"])


def test_a_server_that_is_away_is_told_and_comes_back(open_page: OpenPage, watched: str) -> None:
    page = open_page(watched, expected="ERR_INTERNET_DISCONNECTED")
    expect(page.locator("#picture")).to_be_visible()
    page.context.set_offline(True)
    expect(page.get_by_text("The server cannot be reached")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("The server cannot be reached")).to_be_hidden()
    ask(page, "Which room is this?")
    expect(page.locator("#answers .column")).to_have_attribute("data-state", "done")


def test_a_session_that_is_deleted_elsewhere_leaves_for_the_start(
    open_page: OpenPage, server: RunningServer, watched: str
) -> None:
    page = open_page(watched, expected="status of 404")
    expect(page.locator("#picture")).to_be_visible()
    server.http.delete(f"/v1/sessions/{watched.rpartition('/')[2]}")
    expect(page.get_by_role("button", name="The demo world")).to_be_visible()


def test_who_declines_to_give_a_key_is_not_asked_again_by_itself(open_page: OpenPage) -> None:
    page = open_page(expected="status of 401")
    page.route(re.compile(r"/v1/"), lambda route: route.fulfill(status=401, body="{}"))
    page.reload()
    page.get_by_role("button", name="Not now").click()
    page.wait_for_timeout(4_000)
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Enter it").click()
    expect(page.get_by_role("dialog")).to_be_visible()
