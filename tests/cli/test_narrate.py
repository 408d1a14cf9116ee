"""`hermes-stream narrate` on a real file: text, JSON, subtitles, questions meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.video import write_video
from tests.cli.conftest import Done
from tests.tiny import make_frames

Command = Callable[..., Done]
MODEL = ("--model", "tiny-llava-onevision")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of noise at 4 fps."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, (frame.image_YXC for frame in make_frames(24)), fps=4)
    return path


def test_json_rows_and_subtitles_say_the_same(command: Command, clip: Path, tmp_path: Path) -> None:
    srt, vtt = tmp_path / "a.srt", tmp_path / "a.vtt"
    done = command("narrate", clip, *MODEL, "--json", "--srt", srt, "--vtt", vtt)
    assert done.status == 0, done.err
    assert done.rows
    for row in done.rows:
        assert set(row) == {"start_s", "end_s", "text"}
        assert row["end_s"] == row["start_s"] + 1
        assert row["text"]
    for path in (srt, vtt):
        text = path.read_text("utf-8")
        assert text.count(" --> ") == len(done.rows)
        assert all(row["text"].split()[0] in text for row in done.rows)


def test_questions_are_answered_between_the_words(command: Command, clip: Path) -> None:
    words = ("narrate", clip, *MODEL, "--json")
    alone = command(*words)
    asked = command(*words, "--question", "2=What is there?", "--question", "end=Which colour?")
    answers = [row for row in asked.rows if "question" in row]
    assert [row["question"] for row in answers] == ["What is there?", "Which colour?"]
    assert answers[0]["frames_seen"] == 2
    assert [row for row in asked.rows if "question" not in row] == alone.rows


def test_text_for_people(command: Command, clip: Path) -> None:
    done = command("narrate", clip, *MODEL, "--prompt", "Which colour is it?", "--tokens-per-second", 4)
    assert done.status == 0, done.err
    assert done.out.startswith("[")
    assert " s] " in done.out


def test_a_file_at_its_own_pace(command: Command, clip: Path) -> None:
    done = command("narrate", clip, *MODEL, "--realtime", "--tokens-per-second", 4)
    assert done.status == 0, done.err
    assert "s behind" in done.err
    assert "steps spoken" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", "0"), "step_seconds is 0.0"),
        (("--srt", "/nowhere/a.srt"), "subtitles cannot be written to /nowhere/a.srt"),
        (("--memory", "hermse"), "did you mean hermes"),
        (("--question", "What?"), 'write "SECONDS=TEXT"'),
    ],
)
def test_bad_options_are_one_line(command: Command, clip: Path, arguments: tuple[str, ...], message: str) -> None:
    done = command("narrate", clip, *MODEL, *arguments)
    assert done.status == 2
    assert message in done.err
    assert done.err.count("error:") == 1


@pytest.mark.slow
def test_subtitles_are_valid_after_a_kill(clip: Path, tmp_path: Path) -> None:
    """The process ends in the middle of a commentary, without a chance to put anything in order."""
    srt = tmp_path / "a.srt"
    code = "from hermes_stream.cli.main import main; main()"
    arguments = ["narrate", str(clip), *MODEL, "--json", "--realtime", "--srt", str(srt)]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"{")
        process.send_signal(signal.SIGKILL)
    text = srt.read_text("utf-8")
    assert text.endswith("\n\n")
    blocks = text.strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [str(index + 1) for index in range(len(blocks))]
    assert all(len(block.split("\n")) == 3 for block in blocks)
