"""Without a mouse, on a phone, in the dark, with less motion."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.server.conftest import RunningServer

pytestmark = pytest.mark.browser

_PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def watched(server: RunningServer) -> str:
    """Path of the page with a session that watches the demo."""
    session = server.http.post("/v1/sessions", json={"source": "shapestream:900001", "name": "long " * 30}).json()
    return f"/#/s/{session['id']}"


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus, as somebody without a mouse does."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement?.matches(selector)", selector):
            return
    pytest.fail(f"Tab never came to {selector}")


def test_keys_alone_lead_from_the_start_to_an_answer_and_its_evidence(open_page: OpenPage) -> None:
    page = open_page()
    tab_to(page, "#start-demo")
    # Who goes by keys must see where they are.
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#picture")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("Which room is this?")
    page.keyboard.press("Enter")
    card = page.locator("#answers .card").first
    expect(card.locator(".column")).to_have_attribute("data-state", "done")
    tab_to(page, ".evidence .thumb")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("m")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".map .tip")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()


def test_answers_are_said_aloud(open_page: OpenPage, watched: str) -> None:
    page = open_page(watched)
    expect(page.locator("#picture")).to_be_visible()
    page.get_by_role("button", name="Which room is this?").click()
    expect(page.get_by_role("status").and_(page.locator("#announcements"))).to_contain_text("Which room is this? green")


def test_every_control_has_a_name(open_page: OpenPage, watched: str) -> None:
    page = open_page(watched)
    expect(page.locator("#picture")).to_be_visible()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, textarea, [tabindex='0']")]
            .filter((each) => !each.textContent.trim() && !each.ariaLabel && !each.title && !each.labels?.length)
            .map((each) => each.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("path", ["start", "watch", "compare"])
def test_a_phone_scrolls_down_only(open_page: OpenPage, watched: str, path: str) -> None:
    address = {"start": "/", "watch": watched, "compare": watched + watched.removeprefix("/#/s")}[path]
    page = open_page(address, **_PHONE)
    expect(page.locator("#start-demo" if path == "start" else "#picture")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(
        "[...document.querySelectorAll('body *')].every((e) => e.getBoundingClientRect().width <= 390)"
    )


def test_a_phone_finds_its_sessions_behind_the_menu(open_page: OpenPage, watched: str) -> None:
    page = open_page("/", **_PHONE)
    expect(page.locator("#rail")).to_be_hidden()
    page.get_by_role("button", name="Sessions").click()
    page.locator("#sessions a").click()
    expect(page.locator("#watch")).to_be_visible()
    expect(page.locator("#rail")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "is_dark"), [("dark", True), ("light", False)])
def test_light_and_dark_follow_the_system_until_somebody_chooses(
    open_page: OpenPage, scheme: str, *, is_dark: bool
) -> None:
    page = open_page("/", color_scheme=scheme)

    def brightness() -> float:
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 765

    assert (brightness() < 0.5) == is_dark
    page.get_by_role("button", name="Switch between light and dark").click()
    assert (brightness() < 0.5) != is_dark
    page.reload()
    assert (brightness() < 0.5) != is_dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_page: OpenPage, watched: str, scheme: str) -> None:
    """Contrast of at least 4.5 (WCAG AA) between the colours of text and the grounds that it stands on."""
    page = open_page(watched, color_scheme=scheme)
    page.wait_for_timeout(300)
    texts = {
        "page": ("ink", "soft", "quiet"),
        "panel": ("ink", "soft", "quiet", "danger", "alert", "lane-a", "lane-b"),
        "sunken": ("soft", "quiet"),
        "accent": ("on-accent",),
        "accent-wash": ("ink", "quiet"),
    }
    for ground, names in texts.items():
        for text in names:
            assert contrast(colour(page, text), colour(page, ground)) >= 4.5, (text, ground)


def test_less_motion_means_none(open_page: OpenPage, watched: str) -> None:
    page = open_page(watched, reduced_motion="reduce")
    expect(page.locator("#state")).to_have_text("Live")
    assert page.evaluate("document.getAnimations().length") == 0


def test_nothing_jumps_while_a_stream_is_watched(open_page: OpenPage, watched: str) -> None:
    """Layout shift as browsers count it: 0.1 is what they call good."""
    page = open_page(watched)
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true }); }"""
    )
    expect(page.locator("#picture")).to_be_visible()
    page.get_by_role("button", name="Which room is this?").click()
    expect(page.locator("#answers .column")).to_have_attribute("data-state", "done")
    page.wait_for_timeout(2_000)
    assert page.evaluate("window.shift") < 0.02


def colour(page: Page, token: str) -> list[float]:
    """Channels of a colour of the style sheet, 0 to 1."""
    text = page.evaluate(
        """(token) => {
            document.body.style.color = `var(--${token})`;
            const found = getComputedStyle(document.body).color;
            document.body.style.color = "";
            return found;
        }""",
        token,
    )
    return [int(part) / 255 for part in text.removeprefix("rgb(").removesuffix(")").split(",")]


def contrast(first: list[float], second: list[float]) -> float:
    """Of WCAG 2."""

    def luminance(channels: list[float]) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)
