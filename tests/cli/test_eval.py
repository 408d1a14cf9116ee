"""`hermes-stream eval shapestream`: from the command line through real files to rows, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

import hermes_stream.evals.episodes
import hermes_stream.models.load
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies import POLICIES
from hermes_stream.policies.sliding_window import SlidingWindow
from tests.cli.conftest import Done

Command = Callable[..., Done]
SMALL = {
    "--model": "tiny-llava-onevision",
    "--memory": "sliding-window,hermes",
    "--budget": "8,16",
    "--episodes": "1",
    "--seconds": "16",
}
FIELDS = {
    "policy", "model", "budget", "budget_tokens", "accuracy", "low", "high", "n", "regime", "task", "recall_delay",
    "difference", "bytes", "archive_bytes", "held_tokens", "held_tokens_max", "share_of_64_frames",
    "kept_by_age_tenths_newest_first",
    "ttft_ms", "ingest_ms_per_frame", "episodes", "first_seed", "seconds", "every_s",
}  # fmt: skip


def test_one_row_for_each_policy_and_budget_and_figures_beside_them(command: Command, tmp_path: Path) -> None:
    done = command("eval", "shapestream", *_flat(SMALL), "--json", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    rows = done.rows
    assert [(row["policy"], row["budget"]) for row in rows] == [
        ("sliding-window", 8), ("sliding-window", 16), ("hermes", 8), ("hermes", 16),
    ]  # fmt: skip
    for row in rows:
        assert set(row) == FIELDS
        for groups in ("regime", "task", "recall_delay"):
            assert sum(cell["n"] for cell in row[groups].values()) == row["n"] >= 20
            n_right = sum(cell["n"] * cell["accuracy"] for cell in row[groups].values())
            assert n_right == pytest.approx(row["n"] * row["accuracy"], abs=0.05)
        # The budget, and what came since the last interval of 4 frames ended.
        assert row["budget"] <= row["held_tokens"] <= row["held_tokens_max"] < row["budget"] + 16
        assert row["ttft_ms"] > 0
        assert row["ingest_ms_per_frame"] > 0
    assert rows[0]["regime"]["real-time"]["accuracy"] > 0.8
    assert rows[0]["difference"] is None
    assert rows[3]["difference"]["to"] == {"policy": "sliding-window", "budget": 16}
    assert rows[3]["difference"]["accuracy"] == pytest.approx(rows[3]["accuracy"] - rows[1]["accuracy"], abs=2e-4)
    assert "held back" in done.err
    assert [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()] == rows
    for name in ("budget", "forgetting", "bytes", "share"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000


@pytest.mark.slow
def test_saved_answers_give_the_same_rows_and_runs_are_joined(command: Command, tmp_path: Path) -> None:
    runs = [tmp_path / memory for memory in ("uniform", "sliding-window")]
    together = SMALL | {"--memory": "uniform,sliding-window", "--budget": "16", "--episodes": "2", "--seconds": "8"}
    for run in runs:
        done = command("eval", "shapestream", *_flat(together | {"--memory": run.name}), "--json", "--out", run)
        assert done.status == 0, done.err
    joined = command("eval", "report", *runs, "--json", "--out", tmp_path / "joined")
    whole = command("eval", "shapestream", *_flat(together), "--json")
    assert [_timeless(row) for row in joined.rows] == [_timeless(row) for row in whole.rows]
    assert joined.rows[1]["difference"]["to"] == {"policy": "uniform", "budget": 16}
    assert (tmp_path / "joined" / "results.jsonl").exists()
    assert "right, %" in command("eval", "report", *runs).out
    assert command("eval", "report", *runs, "--memory", "sliding-window", "--json").rows == joined.rows[1:]
    _assert_one_line(command("eval", "report", *runs, "--memory", "hermes"), "no run has 'hermes'")


def _timeless(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in ("ttft_ms", "ingest_ms_per_frame")}


class Failing(SlidingWindow):
    """Gives up in the middle."""

    name: ClassVar[str] = "failing"

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        if view.time_seconds > 8:
            raise ValueError("no more")
        return super().after_chunk(view, state)


def test_a_memory_that_fails_is_a_row_and_a_line_and_the_others_go_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(POLICIES, "failing", Failing)
    given = SMALL | {"--memory": "failing,sliding-window,uniform", "--budget": "16", "--episodes": "2"}
    done = command("eval", "shapestream", *_flat(given), "--json", "--out", tmp_path)
    assert done.status == 0, done.err
    bad, *good = done.rows
    assert {"policy": "failing", "budget": 16, "error": "ValueError: no more"}.items() <= bad.items()
    assert "accuracy" not in bad
    assert [(row["policy"], row["episodes"], row["difference"]) for row in good] == [
        ("sliding-window", 2, None), ("uniform", 2, None),
    ]  # fmt: skip
    (line,) = [line for line in done.err.splitlines() if "failing" in line]
    assert line == "error: failing at 16 failed on tiny-llava-onevision, seed 900000, and is out: ValueError: no more"
    assert command("eval", "report", tmp_path, "--json").rows == done.rows
    assert "no more" in command("eval", "report", tmp_path).out


def test_where_every_memory_fails_there_is_nothing_to_show(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "failing", Failing)
    done = command("eval", "shapestream", *_flat(SMALL | {"--memory": "failing", "--budget": "16"}), "--json")
    assert done.status == 1
    assert "no memory came to the end" in done.err
    assert [row["error"] for row in done.rows] == ["ValueError: no more"]


def test_no_run_to_report_is_refused(command: Command, tmp_path: Path) -> None:
    for folders, message in (([], "no run was given"), ([tmp_path], "cannot read")):
        _assert_one_line(command("eval", "report", *folders), message)


@pytest.mark.slow
def test_ten_minutes_with_questions_about_anything_since_the_start(command: Command) -> None:
    given = {"--memory": "sliding-window", "--budget": "16", "--episodes": "1", "--seconds": "600", "--every": "20"}
    done = command("eval", "shapestream", *_flat(SMALL | given), "--json")
    assert done.status == 0, done.err
    (row,) = done.rows
    assert row["n"] >= 20
    assert max(cell["to_s"] for cell in row["recall_delay"].values()) >= 256


def test_tables_for_people_and_a_word_about_seeds_of_training(command: Command) -> None:
    given = SMALL | {"--memory": "recent-frames(frames=1),keep-all", "--budget": "8", "--seed": "5", "--seconds": "6"}
    done = command("eval", "shapestream", *_flat(given), "--every", "1")
    assert done.status == 0, done.err
    assert "seeds 5 to 5, of the training range: models may have seen them" in done.err
    for part in ("right, %", "recent-frames(frames=1)", "points above recent-frames(frames=1)", "% of 64 frames"):
        assert part in done.out
    assert "…" not in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--memory": "sliding-window,hermse"}, "did you mean hermes"),
        ({"--memory": "hermes,"}, "an empty entry"),
        ({"--memory": "hermes,hermes"}, "hermes is listed twice"),
        ({"--budget": "16,many"}, "budget is 'many'"),
        ({"--budget": "16,16"}, "lists something twice"),
        ({"--budget": "16,0"}, "budget is 0;"),
        ({"--episodes": "0"}, "0 episodes"),
        ({"--seed": "899999", "--episodes": "2"}, "not of one range"),
        ({"--seconds": "nan"}, "--seconds is nan"),
        ({"--every": "0"}, "--every is 0"),
        ({"--regimes": "backward,past"}, "unknown regime 'past'"),
        ({"--device": "meta", "--model": "random:qwen3-vl-4b"}, "--device meta"),
        ({"--out": __file__}, "is a file"),
    ],
)
def test_options_are_judged_before_a_model_is_loaded(
    command: Command, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(hermes_stream.models.load, "load_adapter", lambda *_, **__: pytest.fail("a model was loaded"))
    _assert_one_line(command("eval", "shapestream", *_flat(SMALL | options)), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--model": "tiny-llava-onevision,tiny-llava-twovision"}, "did you mean tiny-llava-onevision"),
        ({"--budget": "16,3"}, "sliding-window: a budget of 3 tokens cannot hold one frame of 4"),
        ({"--budget": "16,1KiB"}, "1024 bytes"),
        ({"--memory": "hermes,keep-all", "--seconds": "3600"}, "keep-all needs"),
        ({"--seconds": "1", "--regimes": "backward"}, "have none of backward"),
    ],
)
def test_models_and_memories_are_judged_before_an_episode_is_written(
    command: Command, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(
        hermes_stream.evals.episodes, "write_episode", lambda *_, **__: pytest.fail("a video was written")
    )
    _assert_one_line(command("eval", "shapestream", *_flat(SMALL | options)), message)


def _assert_one_line(done: Done, message: str) -> None:
    assert done.status == 2, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert done.out == ""


def _flat(options: dict[str, str]) -> list[str]:
    return [part for pair in options.items() for part in pair]


def test_benchmarks_are_listed_for_people_and_programs(command: Command) -> None:
    rows = command("eval", "--list", "--json").rows
    assert {"shapestream", "videomme"} <= {row["name"] for row in rows}
    shown = command("eval", "--list")
    assert shown.status == 0
    assert all(row["name"] in shown.out for row in rows)
    _assert_one_line(command("eval"), "no benchmark was named")
