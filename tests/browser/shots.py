"""Pictures of the page for the documentation: `python -m tests.browser.shots docs` writes page*.png there."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.server.conftest import RunningServer, server_process

_WIDE = {"width": 1440, "height": 900}
_PHONE = {"width": 390, "height": 844}
# Each so many seconds after the one before.
_QUESTIONS = (
    (20, "Which room is this?"),
    (37, "What came before the current object?"),
    (0, "In which room was the green ring last?"),
    (0, "Was there ever a red ring?"),
)
_STANDING = ("Is a purple circle visible now?", "Is the object a cross?")


def main(folder: Path) -> None:
    """Two memories watch the demo for a minute and are asked; then everything is photographed at once."""
    with server_process() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = _open(browser, server, "/", _WIDE, "light")
        page.get_by_text("Memory, budget, model, comparison").click()
        page.get_by_label("Side by side with").select_option("sliding-window")
        page.get_by_role("button", name="The demo world").click()
        for question in _STANDING:
            page.get_by_role("button", name=question).click()
        for seconds, question in _QUESTIONS:
            page.wait_for_timeout(1000 * seconds)
            _ask(page, question)
        page.get_by_label("Question", exact=True).blur()
        page.wait_for_timeout(3_000)
        path = page.url.removeprefix(server.address)
        _photograph(page, folder / "page-compare.png")
        alone = path.rpartition("/")[0]
        _shoot(browser, server, alone, _WIDE, "light", folder / "page.png")
        _shoot(browser, server, alone, _WIDE, "dark", folder / "page-dark.png")
        _shoot(browser, server, alone, _PHONE, "light", folder / "page-phone.png")
        browser.close()


def _open(browser: Browser, server: RunningServer, path: str, viewport: dict[str, int], scheme: str) -> Page:
    page = browser.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(server.address + path)
    page.wait_for_load_state()
    return page


def _ask(page: Page, question: str) -> None:
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_label("Question", exact=True).press("Enter")
    expect(page.locator("#answers .card").first.locator("[data-state=done]")).to_have_count(2)


def _shoot(
    browser: Browser, server: RunningServer, path: str, viewport: dict[str, int], scheme: str, target: Path
) -> None:
    """The charts begin when a page is opened: it waits until they show something."""
    page = _open(browser, server, path, viewport, scheme)
    expect(page.locator("#picture")).to_be_visible()
    page.wait_for_timeout(9_000)
    _photograph(page, target)
    page.close()


def _photograph(page: Page, target: Path) -> None:
    """Without messages that go by themselves: they would hide what they tell of."""
    for button in page.get_by_role("button", name="Dismiss").all():
        button.click()
    page.screenshot(path=target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
