"""docs/policies.md and its pages name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hermes_stream.policies import POLICIES, WRAPPERS
from hermes_stream.policies.front_ends import FRONT_ENDS
from hermes_stream.policies.part import Part

DOCS = Path(__file__).parents[2] / "docs"
INDEX = (DOCS / "policies.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DOCS / "policies").glob("*.md"))}
PARTS = ["Rule", "Cost", "When to use it", "Where it fails", "Differences from the source"]


def text_about(name: str) -> str:
    """A policy's page, or its section in the index."""
    return PAGES.get(name) or INDEX.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_index_has_a_row_for_every_policy() -> None:
    table = INDEX.partition("| Policy |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == list(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_is_described_with_all_its_options_and_presets(name: str) -> None:
    """What several policies share may stand in the index."""
    about = text_about(name)
    assert about
    for option in set(POLICIES[name].options()) - {"budget"}:
        is_own = option in POLICIES[name].__annotations__
        assert re.search(rf"`{option}[`=]", about if is_own else about + INDEX), option
    assert all(f"`{name}:{preset}`" in about for preset in POLICIES[name].presets)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_all_its_parts(name: str) -> None:
    page = PAGES[name]
    assert page.startswith(f"# {name}\n")
    assert f"({name}.md)" in INDEX.replace("policies/", "")
    assert re.findall(r"^\*\*([^*]+)\.\*\*", page, re.MULTILINE) == PARTS
    assert ("| Intervals | do not matter" in page) == POLICIES[name].is_per_frame


@pytest.mark.parametrize("name", [*FRONT_ENDS, *WRAPPERS])
def test_every_part_of_a_composition_is_described_with_its_options(name: str) -> None:
    page = (DOCS / "composition.md").read_text(encoding="utf-8")
    about = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    part: type[Part] = {**FRONT_ENDS, **WRAPPERS}[name]
    assert f"\n| `{name}` |" in page
    assert about
    for option in part.options():
        assert re.search(rf"`{option}[`=]|{option}=", about), option


@pytest.mark.parametrize(
    "path",
    [DOCS / "policies.md", DOCS / "composition.md", *(DOCS / "policies").glob("*.md")],
    ids=lambda path: path.stem,
)
def test_linked_files_exist(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert not [target for target in targets if not target.startswith("http") and not (path.parent / target).exists()]
