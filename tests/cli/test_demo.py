"""`hermes-stream demo`, `models` and `policies`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from hermes_stream.policies import POLICIES, WRAPPERS
from hermes_stream.policies.front_ends import FRONT_ENDS
from tests.cli.conftest import Done

Command = Callable[..., Done]


def test_demo_answers_questions_of_all_regimes_and_draws_the_memory(command: Command, tmp_path: Path) -> None:
    done = command("demo", "--json", "--out", tmp_path)
    assert done.status == 0, done.err
    assert len(done.rows) >= 8
    assert {row["regime"] for row in done.rows} == {"real-time", "backward", "forward"}
    assert {"truth", "right", "ttft_ms", "held_tokens", "memory_bytes", "answer"} <= set(done.rows[0])
    assert sum(row["right"] for row in done.rows) > len(done.rows) / 2
    assert str(tmp_path / "memory.png") in done.err
    with Image.open(tmp_path / "memory.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50
    videos = list(tmp_path.glob("*.mp4"))
    assert len(videos) == 1

    text = command("demo", "--out", tmp_path, "--memory", "sliding-window")
    assert text.status == 0, text.err
    assert text.out.count("truth") == len(done.rows)
    assert "✓" in text.out


def test_policies_lists_every_policy_with_its_options(command: Command) -> None:
    rows = command("policies", "--json").rows
    kinds = {"store": POLICIES, "front-end": FRONT_ENDS, "wrapper": WRAPPERS}
    assert {(row["kind"], row["name"]) for row in rows} == {(kind, name) for kind in kinds for name in kinds[kind]}
    assert all(row["summary"] and ("budget" in row["options"]) == (row["kind"] == "store") for row in rows)
    text = command("policies").out
    assert all(row["name"] in text for row in rows)
    assert "front_ends" not in text


def test_models_lists_what_is_bundled(command: Command) -> None:
    rows = command("models", "--json").rows
    assert "tiny-llava-onevision" in [row["name"] for row in rows]
    assert all({"fps", "chunk", "budget", "family", "bytes"} <= set(row) for row in rows)
    assert "llava_onevision" in command("models").out
