"""The code of docs/policies.md, run through the contract of all policies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.policies import POLICIES
from hermes_stream.policies.base import Policy

from .contract import chunk_sizes, run

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example() -> type[Policy]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.partition("## Write your own policy")[2], re.DOTALL)
    assert len(code.splitlines()) <= 40
    names: dict[str, Any] = {"__name__": "docs.policies"}
    exec(compile(code, "docs/policies.md", "exec"), names)
    (policy_class,) = (
        value for value in names.values() if isinstance(value, type) and value.__module__ == names["__name__"]
    )
    assert issubclass(policy_class, Policy)
    return policy_class


def test_the_example_keeps_the_contract(example: type[Policy]) -> None:
    stream = run(example(budget=24), chunk_sizes(60))
    assert {names for interval in stream.intervals for names in interval.probe_names} == {"watch"}


def test_the_example_keeps_everything_below_its_budget(example: type[Policy]) -> None:
    stream = run(example(budget=1000), [3] * 5)
    assert all(interval.plan.is_identity for interval in stream.intervals)


def test_the_page_has_a_row_for_every_policy_and_every_preset() -> None:
    table = PAGE.partition("| Policy |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert rows == list(POLICIES)
    for name, policy_class in POLICIES.items():
        for preset in policy_class.presets:
            assert f"`{name}:{preset}`" in PAGE
