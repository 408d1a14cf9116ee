"""Values of others: where they may stand beside ours, and where they must be marked."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_stream.evals.published import Published, differs_in, ours_beside, published_of, published_values
from hermes_stream.evals.tasks import TASKS
from hermes_stream.policies.spec import parse_memory

VALUE = Published(
    bench="videomme", average="overall", model="llava-onevision-qwen2-7b", method="HERMES", memory="hermes",
    value=58.85, fps=0.5, budget_tokens=4000, source="a paper",
)  # fmt: skip
ROW: dict[str, Any] = {
    "kind": "memory", "memory": "hermes", "model": "llava-onevision-qwen2-7b-ov-hf", "fps": 0.5, "budget_tokens": 4000,
    "prompt": "videomme-official", "judge": None,
}  # fmt: skip


def test_the_same_setting_differs_in_nothing() -> None:
    assert differs_in(VALUE, ROW) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"model": "tiny-llava-onevision"}, "model"),
        ({"fps": 1.0}, "fps"),
        ({"budget_tokens": 6000}, "budget"),
        ({"prompt": "own-prompt"}, "prompt"),
        ({"judge": {"name": "another"}}, "judge"),
    ],
)
def test_what_differs_is_named(change: dict[str, Any], name: str) -> None:
    assert differs_in(VALUE, ROW | change) == [name]


def test_ours_is_the_same_memory_at_the_same_budget_where_there_is_one() -> None:
    other, baseline = ROW | {"budget_tokens": 6000}, ROW | {"kind": "baseline"}
    assert ours_beside(VALUE, [baseline, other, ROW]) is ROW
    assert ours_beside(VALUE, [other]) is other
    assert ours_beside(VALUE, [ROW | {"memory": "uniform"}]) is None


def test_every_value_is_a_share_with_a_source_of_a_policy_that_exists() -> None:
    for value in published_values():
        assert 0 < value.value < 100
        assert value.source
        assert value.model == value.model.lower()
        if value.memory is not None:
            parse_memory(value.memory, bytes_per_token=1)


def test_values_of_benchmarks_that_are_here_are_of_numbers_that_they_print() -> None:
    for name, task in TASKS.items():
        averages = {average.name for average in task.averages}
        tasks = {leaf for average in task.averages for leaf in average.of}
        assert {value.average for value in published_of(name)} <= averages | tasks


def test_the_headline_numbers_of_hermes_are_there() -> None:
    found = {
        (each.model, each.budget_tokens): each.value
        for each in published_of("streamingbench")
        if each.method == "HERMES" and each.fps is not None and each.source.startswith("HERMES paper")
    }
    assert found["llava-onevision-qwen2-7b", 4000] == 73.23
    assert found["qwen2.5-vl-7b", 4000] == 79.44
