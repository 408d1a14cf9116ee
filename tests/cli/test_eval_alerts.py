"""`hermes-stream eval alerts`: from the command line through real files to rows, tables and a file of results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import hermes_stream.models.load
from tests.cli.conftest import Done

Command = Callable[..., Done]
SMALL = {"--memory": "keep-all,sliding-window", "--budget": "16", "--episodes": "1", "--seconds": "20"}


def flat(options: dict[str, str]) -> list[str]:
    return [part for pair in options.items() for part in pair]


def test_a_row_for_each_memory_and_wording_and_a_file_of_them(command: Command, tmp_path: Path) -> None:
    done = command("eval", "alerts", *flat(SMALL), "--json", "--out", tmp_path)
    assert done.status == 0, done.err
    rows = done.rows
    assert [(row["policy"], row["task"]) for row in rows] == [
        ("keep-all", "appeared"), ("keep-all", "alert"), ("sliding-window", "appeared"), ("sliding-window", "alert"),
    ]  # fmt: skip
    for row in rows:
        assert (row["questions"], row["look_s"], row["hours"]) == (36, 4, 0.2)
        n_hits = 0 if row["precision"] is None else row["precision"]["n"]
        n_news = n_hits - row["n_false"] - row["n_repeated"]
        assert n_news == pytest.approx(n_hits * (row["precision"] or {"accuracy": 0})["accuracy"], abs=0.01)
        assert row["n_false_alike"] <= row["n_false"]
        at_half = [point for point in row["curve"] if point["threshold"] == 0.5]
        assert [point["recall"] for point in at_half] == [row["recall"]["accuracy"]]
    # The model was trained to say when something appears, and is good at it while it looks.
    assert rows[1]["recall"]["accuracy"] > 0.6
    assert 0 < rows[1]["delay_s"]["median"] <= 5
    saved = json.loads((tmp_path / "alerts.json").read_text())
    assert saved["rows"] == rows
    assert saved["settings"]["threshold"] == 0.5
    assert "144 questions" not in done.err
    assert "72 questions each" in done.err


def test_tables_for_people(command: Command) -> None:
    given = SMALL | {"--memory": "recent-frames(frames=1)", "--seconds": "8", "--every": "2", "--hold-looks": "2"}
    done = command("eval", "alerts", *flat(given))
    assert done.status == 0, done.err
    for part in ("a look every 2 s", "precision / recall, %, by threshold", "recent-frames(frames=1)", "appeared"):
        assert part in done.out
    assert "…" not in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--threshold": "1"}, "--threshold is 1.0; input should be less than 1"),
        ({"--every": "0"}, "--every is 0; input should be greater"),
        ({"--hold-seconds": "-1"}, "--hold-seconds is -1.0"),
        ({"--cooldown-seconds": "nan"}, "--cooldown-seconds is nan"),
        ({"--memory": "hermse"}, "did you mean hermes"),
        ({"--seconds": "0"}, "--seconds is 0"),
    ],
)
def test_options_are_judged_before_a_model_is_loaded(
    command: Command, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(hermes_stream.models.load, "load_adapter", lambda *_, **__: pytest.fail("a model was loaded"))
    assert_one_line(command("eval", "alerts", *flat(SMALL | options)), message)


def test_episodes_that_are_over_before_a_look_are_refused(command: Command) -> None:
    assert_one_line(command("eval", "alerts", *flat(SMALL | {"--every": "30"})), "looks every 30 s")


def assert_one_line(done: Done, message: str) -> None:
    assert done.status == 2, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert done.out == ""
