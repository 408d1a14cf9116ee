"""The page in a real browser, headless, against a real server; whatever goes wrong in it fails the test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.server.conftest import RunningServer, server_process

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that shows a test picture, and nobody who is asked for it.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
_PATIENCE_MS = 30_000


@dataclass
class Watched:
    """A page and what it did: errors, and addresses that it asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def strangers(self, server: RunningServer) -> list[str]:
        """Addresses of other hosts; pictures that the page made itself have none."""
        own = urlsplit(server.address).netloc
        return [url for url in self.addresses if not url.startswith(("blob:", "data:")) and urlsplit(url).netloc != own]


def told(message: ConsoleMessage) -> str:
    """What the console says, and of what."""
    return f"{message.text} {message.location['url']}"


@contextmanager
def watched_page(
    browser: Browser, server: RunningServer, path: str = "/", *, expected: str = "$.^", **context: Any
) -> Iterator[Watched]:
    """The page in a context of its own; left only where no error was seen and nobody else was asked for anything.

    expected: pattern of errors that belong to the test.
    """
    opened = browser.new_context(**context)
    opened.set_default_timeout(_PATIENCE_MS)
    page = opened.new_page()
    watched = Watched(page)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and watched.errors.append(told(message)))
    page.on("request", lambda request: watched.addresses.append(request.url))
    page.on("websocket", lambda socket: watched.addresses.append(socket.url))
    page.goto(server.address + path)
    try:
        yield watched
        assert not [error for error in watched.errors if not re.search(expected, error)]
        assert not watched.strangers(server)
    finally:
        opened.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    with server_process() as running:
        yield running


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, server: RunningServer) -> Iterator[OpenPage]:
    """A page as by `watched_page`, until the test is over; its sessions go with it."""
    with ExitStack() as stack:
        stack.callback(delete_sessions, server)

        def call(path: str = "/", **context: Any) -> Page:
            return stack.enter_context(watched_page(browser, server, path, **context)).page

        yield call


def delete_sessions(server: RunningServer) -> None:
    for session in server.http.get("/v1/sessions").json()["data"]:
        server.http.delete(f"/v1/sessions/{session['id']}")
