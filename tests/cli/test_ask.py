"""`hermes-stream ask`: answers in time order, rows with the promised fields, mistakes in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.shapestream import is_right
from tests.cli.conftest import Done

Command = Callable[..., Done]
FIELDS = {"time_s", "question", "answer", "ttft_ms", "frames_seen", "held_tokens", "memory_bytes", "policy"}


def test_rows_have_the_promised_fields_and_come_in_time_order(command: Command, episode: tuple[Path, Path]) -> None:
    video, _ = episode
    questions = [
        "end=What was first?",
        "30=Which room is this?",
        "5.5=What is on the screen?",
        "0=Is there a red ring?",
    ]
    done = command("ask", video, "--json", *(part for text in questions for part in ("--question", text)))
    assert done.status == 0, done.err
    assert [row["time_s"] for row in done.rows] == [0.0, 5.0, 30.0, 63.0]
    assert [row["question"] for row in done.rows] == [text.partition("=")[2] for text in reversed(questions)]
    for row in done.rows:
        assert set(row) == FIELDS
        assert row["policy"] == "hermes"
        assert len(row["held_tokens"]) >= 10
        assert row["ttft_ms"] > 0
        assert row["frames_seen"] == row["time_s"] + 1
    assert done.rows[-1]["memory_bytes"] < 2 * done.rows[1]["memory_bytes"] * 63 / 6
    assert "tiny-llava-onevision" in done.err
    assert "budget" in done.err


def test_hermes_answers_about_now_from_a_quarter_of_the_tokens(command: Command, episode: tuple[Path, Path]) -> None:
    """End to end: a file of 24 fps and 640x360, asked about now, with a quarter of the tokens that keep-all holds."""
    video, path = episode
    questions = [q for q in json.loads(path.read_text()) if q["regime"] == "real-time"]
    arguments = [part for q in questions for part in ("--question", f"{q['time_s']}={q['question']}")]
    whole = command("ask", video, "--json", "--memory", "keep-all", "--question", "end=Which room is this?").rows[0]
    quarter = max(whole["held_tokens"]) // 4
    done = command("ask", video, "--json", "--memory", "hermes", "--budget", quarter, *arguments)
    assert done.status == 0, done.err
    interval_tokens = 8 * 4
    assert all(max(row["held_tokens"]) <= quarter + interval_tokens for row in done.rows)
    right = [is_right(row["answer"], q["answer"]) for row, q in zip(done.rows, questions, strict=True)]
    assert sum(right) >= len(right) - 1


@pytest.mark.parametrize(
    "text", ["Wer hat den Kübel gesehen?", "日本語の質問ですか？ 🎬", "zyxwv\t\x07 qqq", "a" * 300]
)
def test_words_that_the_model_never_saw_do_not_crash_it(
    command: Command, episode: tuple[Path, Path], text: str
) -> None:
    done = command("ask", episode[0], "--json", "--fps", 0.2, "--question", f"end={text}")
    assert done.status == 0, done.err
    assert done.rows[0]["question"] == text


def test_text_output_is_for_people(command: Command, episode: tuple[Path, Path]) -> None:
    done = command("ask", episode[0], "--memory", "uniform", "--budget", "64KiB", "--question", "end=What was first?")
    assert done.status == 0, done.err
    assert "What was first?" in done.out
    assert "64 KiB" not in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{video}"], "--question"),
        (["/no/such/file.mp4", "--question", "1=x"], "no such file"),
        (["{text}", "--question", "1=x"], "not a video"),
        (["{cut}", "--question", "1=x"], "cut short"),
        (["{sound}", "--question", "1=x"], "no video stream"),
        (["{folder}", "--question", "1=x"], "folder"),
        (["{video}", "--question", "x"], "cannot read the question 'x'"),
        (["{video}", "--question=-1=x"], "cannot read the question"),
        (["{video}", "--question", "3= "], "cannot read the question"),
        (["{video}", "--question", "1=x", "--memory", "hermse"], "did you mean hermes"),
        (["{video}", "--question", "1=x", "--memory", "hermes(k=3)"], "k"),
        (["{video}", "--question", "1=x", "--fps", "0"], "--fps"),
        (["{video}", "--question", "1=x", "--chunk", "0"], "at least 1 frame"),
        (["{video}", "--question", "1=x", "--chunk", "two"], "--chunk"),
        (["{video}", "--question", "1=x", "--budget", "3"], "cannot hold one frame"),
        (["{video}", "--question", "1=x", "--budget", "lots"], "lots"),
        (["{video}", "--question", "1=x", "--model", "tiny-lava-onevision"], "did you mean tiny-llava-onevision"),
        (["{video}", "--question", "1=x", "--dtype", "int3"], "dtype"),
        (["{video}", "--question", "1=x", "--chnk", "3"], "Did you mean --chunk"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(
    command: Command, episode: tuple[Path, Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    places = {"video": episode[0], "folder": tmp_path, **bad_files(tmp_path, episode[0])}
    done = command("ask", *(argument.format(**places) for argument in arguments))
    assert done.status == 2
    assert message in done.err
    lines = [line for line in done.err.splitlines() if not line.startswith("model ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert done.out == ""


def bad_files(folder: Path, video: Path) -> dict[str, Path]:
    text, cut, sound = folder / "text.mp4", folder / "cut.mp4", folder / "sound.wav"
    text.write_text("this is not a video\n" * 50)
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    # A wave header and a second of silence.
    sound.write_bytes(
        b"RIFF\xa4\x3e\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"
        b"data\x80\x3e\x00\x00" + bytes(16000)
    )
    return {"text": text, "cut": cut, "sound": sound}


def test_a_damaged_middle_is_used_as_far_as_it_goes_and_reported(
    command: Command, episode: tuple[Path, Path], tmp_path: Path
) -> None:
    content = bytearray(episode[0].read_bytes())
    middle = len(content) // 3
    content[middle : middle + 4000] = bytes(4000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    done = command("ask", damaged, "--json", "--question", "end=Which room is this?")
    assert done.status == 0, done.err
    assert "warning: " in done.err
    assert done.rows[0]["frames_seen"] > 20
