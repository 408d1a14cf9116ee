"""Two memories on the same stream."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.server.conftest import RunningServer

pytestmark = pytest.mark.browser


def test_a_question_goes_to_both_and_each_answers_in_its_column(open_page: OpenPage, server: RunningServer) -> None:
    page = open_page(viewport={"width": 1440, "height": 900})
    page.get_by_text("Memory, budget, model, comparison").click()
    page.get_by_label("Side by side with").select_option("sliding-window")
    page.get_by_role("textbox", name="Its budget").fill("16")
    page.get_by_role("button", name="The demo world").click()
    expect(page.locator(".map h3")).to_have_text(["hermes", re.compile("sliding-window")])
    expect(page.locator("#facts")).to_contain_text(re.compile(r"^[5-9] frames seen"))
    page.get_by_role("button", name="What object is visible now?").click()
    columns = page.locator("#answers .card").first.locator(".column")
    expect(columns).to_have_count(2)
    for index in range(2):
        expect(columns.nth(index)).to_have_attribute("data-state", "done")
        expect(columns.nth(index).locator(".answer")).not_to_be_empty()
    sessions = server.http.get("/v1/sessions").json()["data"]
    assert [session["budget"] for session in sessions] != [sessions[0]["budget"]] * 2
    assert {session["source"] for session in sessions} == {"shapestream:900001"}
    page.reload()
    expect(page.locator("#answers .card .column[data-state=done]")).to_have_count(2)
    page.get_by_role("button", name="Stop comparing").click()
    expect(page.locator(".map")).to_have_count(1)
    expect(page.locator("#answers .card .column[data-state=done]")).to_have_count(1)


def test_a_memory_that_cannot_be_is_refused_in_one_line_and_leaves_nothing(
    open_page: OpenPage, server: RunningServer
) -> None:
    # The browser itself notes that a request was refused.
    page = open_page(expected="status of 400")
    page.get_by_text("Memory, budget, model, comparison").click()
    page.get_by_label("Side by side with").select_option("…")
    page.get_by_label("Second memory, composed").fill("no-such-memory")
    page.get_by_role("button", name="The demo world").click()
    expect(page.get_by_role("alert")).to_contain_text("no-such-memory")
    assert server.http.get("/v1/sessions").json()["data"] == []
