"""Text of strangers stays text: names, questions, answers, sources."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import OpenPage
from tests.server.conftest import RunningServer

pytestmark = pytest.mark.browser

_EVIL = '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script><b>bold</b>'


def test_a_session_name_is_inert(open_page: OpenPage, server: RunningServer) -> None:
    session = server.http.post("/v1/sessions", json={"name": _EVIL}).json()
    page = open_page(f"/#/s/{session['id']}")
    expect(page.locator("#watch-title")).to_have_text(_EVIL)
    expect(page.locator("#sessions .name")).to_have_text(_EVIL)
    assert page.evaluate("window.hit") is None
    assert page.locator("#watch-title b, #sessions b").count() == 0


def test_an_answer_and_a_question_are_inert(open_page: OpenPage, server: RunningServer) -> None:
    session = server.http.post("/v1/sessions", json={}).json()
    page = open_page(f"/#/s/{session['id']}")
    # No bundled model would say this.
    page.route(re.compile(r"/ask$"), lambda route: _answer(route, _EVIL))
    page.get_by_label("Question", exact=True).fill(_EVIL)
    page.get_by_label("Question", exact=True).press("Enter")
    expect(page.locator("#answers .answer")).to_have_text(_EVIL)
    expect(page.locator("#answers h3")).to_have_text(_EVIL)
    assert page.evaluate("window.hit") is None
    assert page.locator("#answers b, #announcements b").count() == 0


def test_markup_cannot_be_made_of_text_at_all(open_page: OpenPage) -> None:
    page = open_page(expected="TrustedHTML")
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<i>x</i>'")


def test_the_page_is_sent_with_what_keeps_it_shut(server: RunningServer) -> None:
    for path in ("/", "/web/js/main.js", "/web/css/frame.css", "/web/icon.svg"):
        response = server.http.get(path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        again = server.http.get(path, headers={"if-none-match": response.headers["etag"]})
        assert again.status_code == 304
    for path in ("/web/../page.py", "/web/..%2fpage.py", "/web/js", "/web/nothing.js"):
        assert server.http.get(path).status_code == 404


def _answer(route: Route, text: str) -> None:
    done = {
        "type": "response.text.done",
        "id": "x",
        "text": text,
        "time_s": 0,
        "ttft_ms": 1,
        "total_ms": 2,
        "evidence": [],
    }
    events = [
        {"type": "response.start", "id": "x", "time_s": 0},
        {"type": "response.text.delta", "delta": text[:9]},
        done,
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    route.fulfill(status=200, content_type="text/event-stream", body=body)
