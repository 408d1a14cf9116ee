"""`hermes-stream train`: from videos and transcripts to a checkpoint that loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.models.load import load_adapter
from hermes_stream.shapestream import make_script, write_episode
from tests.cli.conftest import Done
from tests.tiny import save_checkpoint

Command = Callable[..., Done]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with one video of six seconds and a transcript of what is said in it."""
    write_episode(make_script(5, 6.0), tmp_path / "a.mp4", fps=4, width=64, height=36)
    content = [[second + 0.2, second + 0.7, f"word{second}"] for second in range(6)]
    (tmp_path / "transcripts.jsonl").write_text(json.dumps({"video": "a.mp4", "content": content}) + "\n")
    return tmp_path


def _cut(command: Command, videos: Path, *more: object) -> Done:
    return command("train", "cut", videos / "transcripts.jsonl", "--videos", videos, "--out", videos / "chunks", *more)


def test_chunks_are_cut_and_a_model_is_trained_on_them(command: Command, videos: Path) -> None:
    done = _cut(command, videos, "--chunk-seconds", 3, "--overlap-seconds", 1, "--least-words", 1)
    assert done.status == 0, done.err
    assert "2 records of 1 videos, 0 left out" in done.err
    model = save_checkpoint("qwen2_5_vl", videos / "model")
    (videos / "more.json").write_text('{"logging_steps": 1}')
    out = videos / "out"
    done = command(
        "train", "commentary", videos / "chunks", "--model", model, "--videos", videos, "--out", out,
        "--fps", 2, "--max-steps", 2, "--batch", 2, "--accumulation", 1, "--settings", videos / "more.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert [line.split(":")[0] for line in done.err.splitlines() if line.startswith("step")] == ["step 1", "step 2"]
    assert "trained, loss" in done.err
    assert done.out == ""
    assert load_adapter(str(out)).facts.n_layers == 12


def test_dense_clips_are_cut(command: Command, videos: Path) -> None:
    assert "0 records of 1 videos" in _cut(command, videos, "--dense").err


def test_videos_that_are_too_short_are_named(command: Command, videos: Path) -> None:
    done = _cut(command, videos)
    assert done.status == 0
    assert "left out: a.mp4 has 6 s, a chunk 24 s" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overlap-seconds", "24"], "cannot overlap by 24 s"),
        (["--chunk-seconds", "0"], "cannot overlap"),
    ],
)
def test_chunks_that_cannot_be_are_refused(command: Command, videos: Path, options: list[str], message: str) -> None:
    _assert_one_line(_cut(command, videos, *options), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "no whole checkpoint to resume from"),
        (["--settings", "{folder}/transcripts.jsonl"], "TrainingArguments"),
        (["--settings", "{folder}/a.mp4"], "no JSON"),
        (["--previous-head", "-1"], "previous text"),
        ([], "no such file of records"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(
    command: Command, videos: Path, options: list[str], message: str
) -> None:
    (videos / "transcripts.jsonl").write_text("[]")
    given = ["--model", "tiny-qwen2.5-vl", "--videos", videos, "--out", videos / "out"]
    given += [option.format(folder=videos) for option in options]
    _assert_one_line(command("train", "commentary", videos / "none", *given), message)


def test_an_unknown_model_is_refused(command: Command, videos: Path) -> None:
    given = ("--model", "nobody", "--videos", videos, "--out", videos / "out")
    _assert_one_line(command("train", "commentary", videos / "none", *given), "unknown model")


def _assert_one_line(done: Done, message: str) -> None:
    assert done.status == 2, done.err
    (line,) = done.err.splitlines()
    assert message in line


def test_the_bundled_model_is_made_from_nothing(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("train", "shapestream", "--out", out, "--videos", 1, "--seconds", 24, "--steps", 1)
    assert done.status == 0, done.err
    assert f"{out}: trained" in done.err
    assert load_adapter(str(out)).commentary.default_instruction == "Describe the events."
