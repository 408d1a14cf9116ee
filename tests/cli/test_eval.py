"""`hermes-stream eval shapestream`: from the command line through real files to rows, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import hermes_stream.evals.episodes
import hermes_stream.models.load
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
    "difference", "bytes", "held_tokens", "held_tokens_max", "share_of_64_frames", "kept_by_age_tenths_newest_first",
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
