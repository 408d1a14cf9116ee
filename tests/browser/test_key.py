"""A server that wants a key."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import watched_page
from tests.server.conftest import RunningServer, server_process

pytestmark = pytest.mark.browser

_KEY = "hs_" + "correct-horse-" * 3


@pytest.fixture(scope="module")
def locked() -> Iterator[RunningServer]:
    with server_process(HERMES_STREAM_API_KEYS=f"me:{_KEY}") as running:
        yield running


def test_a_key_is_asked_for_once_and_never_stands_in_an_address(browser: Browser, locked: RunningServer) -> None:
    """Wrong, then right; then pictures, events, answers and a pushed camera work, and a reload asks no more."""
    with watched_page(browser, locked, expected="status of 401") as watched:
        page = watched.page
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Key").fill("hs_" + "wrong" * 8)
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("refused the key")
        dialog.get_by_label("Key").fill(_KEY)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="This camera").click()
        expect(page.locator("#facts")).to_contain_text(re.compile(r"^[2-9] frames seen"))
        page.get_by_label("Question", exact=True).fill("What object is visible now?")
        page.get_by_label("Question", exact=True).press("Enter")
        expect(page.locator("#answers .column")).to_have_attribute("data-state", "done")
        page.reload()
        expect(page.locator("#picture")).to_be_visible()
        expect(dialog).to_be_hidden()
        assert not [address for address in watched.addresses if _KEY in address]
        assert _KEY not in page.evaluate("JSON.stringify([location.href, localStorage, document.cookie])")
