"""The page's files fit together: what they name is there, and nothing in them leads elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from hermes_stream.server.page import FOLDER

MODULES = sorted((FOLDER / "js").glob("*.js"))
STYLES = sorted((FOLDER / "css").glob("*.css"))
FILES = [path for path in FOLDER.rglob("*") if path.is_file()]
INDEX = (FOLDER / "index.html").read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_what_its_neighbours_export(path: Path) -> None:
    for names, target in re.findall(r"^import \{([^}]*)\} from \"\./([\w.]+)\";", path.read_text(), re.MULTILINE):
        text = (path.parent / target).read_text()
        exported = set(re.findall(r"^export (?:async )?(?:function\*?|class|const) (\w+)", text, re.MULTILINE))
        assert {name.strip() for name in names.split(",")} <= exported


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_uses_what_it_imports(path: Path) -> None:
    text = path.read_text()
    body = re.sub(r"^import .*$", "", text, flags=re.MULTILINE)
    for names in re.findall(r"^import \{([^}]*)\}", text, re.MULTILINE):
        for name in names.split(","):
            assert re.search(rf"\b{name.strip()}\b", body), name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_small_and_makes_no_markup(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 300
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


def test_elements_that_modules_ask_for_are_in_the_page() -> None:
    ids = re.findall(r'\bid="([^"]+)"', INDEX)
    assert [name for name, n in Counter(ids).items() if n > 1] == []
    asked = {name for path in MODULES for name in re.findall(r'byId\("([^"]+)"\)', path.read_text())}
    assert asked <= set(ids)


def test_every_module_style_and_icon_that_is_named_exists() -> None:
    for address in re.findall(r'(?:src|href)="(/web/[^"]+)"', INDEX):
        assert (FOLDER / address.removeprefix("/web/")).is_file(), address
    icons = set(re.findall(r'symbol id="icon-(\w+)"', INDEX))
    used = {name for path in MODULES for name in re.findall(r'icon\("(\w+)"\)', path.read_text())}
    assert used | set(re.findall(r'href="#icon-(\w+)"', INDEX)) == icons
    assert {path.name for path in STYLES} == set(re.findall(r"/web/css/([\w.]+)", INDEX))


def test_colours_are_named_before_they_are_used() -> None:
    text = "".join(path.read_text() for path in STYLES)
    assert set(re.findall(r"var\(--([\w-]+)", text)) <= set(re.findall(r"--([\w-]+):", text))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_leads_nowhere_else(path: Path) -> None:
    addresses = re.findall(r"(?:https?|wss?)://[^\s\"'`]+", path.read_text(encoding="utf-8"))
    # An XML namespace is a name and is never fetched; examples stand in placeholders.
    assert all(address.startswith("http://www.w3.org/2000/svg") or "…" in address for address in addresses)


def test_the_page_has_no_code_or_style_inside() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=", INDEX)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", INDEX))
