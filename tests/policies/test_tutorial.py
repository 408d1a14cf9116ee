"""The code of docs/policies.md, run through the contract of all policies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hermes_stream import Engine
from hermes_stream.policies.base import Policy
from tests.tiny import make_frames

from .contract import chunk_sizes, run

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")


def code_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.partition("## Write your own policy")[2], re.DOTALL)


@pytest.fixture(scope="module")
def example() -> type[Policy]:
    code = code_blocks()[0]
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


def test_the_example_can_be_saved_and_restored(
    example: type[Policy], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, code = code_blocks()
    original = engine.open(memory=example(budget=30), chunk=3)
    original.watch(make_frames(8))
    names: dict[str, Any] = {"model": engine, "session": original, "Watchful": example}
    exec(compile(code, "docs/policies.md", "exec"), names)
    assert names["session"] is not original
    assert names["session"].stats == original.stats
