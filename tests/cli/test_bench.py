"""`hermes-stream bench`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Done

Command = Callable[..., Done]
SMALL = {"--model": "tiny-llava-onevision", "--frames": "4", "--budget": "16", "--intervals": "1"}


def test_memory_is_a_table_for_people_and_an_object_for_programs(command: Command) -> None:
    done = command("bench", "memory", *_flat(SMALL))
    assert done.status == 0, done.err
    for part in ("vision tower", "text model", "probe (", "scoring", "eviction", "re-placement (1 interval in"):
        assert part in done.out
    (row,) = command("bench", "memory", *_flat(SMALL), "--json").rows
    assert row["tokens_per_interval"] == 16
    assert row["parts"]["probe"]["flops"] > 0
    assert row["extra_seconds_share"] > 0
    assert row["three_passes_of_the_release"]["flops_share"] > 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--memory", "keep-all", "evicts no rows"),
        ("--frames", "0", "--frames is 0"),
        ("--intervals", "0", "--intervals is 0"),
        ("--memory", "hermse", "did you mean hermes"),
        ("--model", "random:llava", "random model"),
        ("--budget", "3", "cannot hold one frame"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(command: Command, option: str, value: str, message: str) -> None:
    done = command("bench", "memory", *_flat({**SMALL, option: value}))
    assert done.status == 2
    assert message in done.err
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1


def _flat(options: dict[str, str]) -> list[str]:
    return [part for pair in options.items() for part in pair]
