"""`hermes-stream shapestream render`: a file that opens, questions with the promised fields, the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream import open_video
from hermes_stream.shapestream import make_script
from hermes_stream.shapestream.commentary import commentary_events
from tests.cli.conftest import Done

Command = Callable[..., Done]
FIELDS = {"time_s", "question", "answer", "regime", "task", "recall_delay_s"}


def test_questions_have_the_promised_fields(episode: tuple[Path, Path]) -> None:
    rows = json.loads(episode[1].read_text())
    assert len(rows) >= 20
    assert {row["regime"] for row in rows} == {"real-time", "backward", "forward"}
    assert [row["time_s"] for row in rows] == sorted(row["time_s"] for row in rows)
    for row in rows:
        assert set(row) - {"event_time_s"} == FIELDS
        assert ("event_time_s" in row) == (row["regime"] == "forward")
        assert row["recall_delay_s"] >= 0


def test_the_video_has_the_asked_size_length_and_rate(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "v.mkv"
    done = command(
        "shapestream", "render", "--seed", 7, "--seconds", 2, "--fps", 12.5, "--size", "128x96", "--out", out
    )
    assert done.status == 0, done.err
    with open_video(out, fps=None) as video:
        frames = list(video)
    assert len(frames) == 25
    assert frames[0].image_YXC.shape == (96, 128, 3)
    assert frames[-1].pts_seconds == pytest.approx(24 / 12.5, abs=1e-3)


def test_the_same_seed_gives_the_same_episode(command: Command, tmp_path: Path) -> None:
    """The video's bytes may differ: FFmpeg's conversion to YUV rounds by the alignment of its buffers."""
    for name in ("a", "b"):
        arguments = ("--seconds", 5, "--fps", 4, "--size", "64x48", "--out", tmp_path / f"{name}.mp4")
        command("shapestream", "render", "--seed", 11, *arguments, "--questions", tmp_path / f"{name}.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    clips = []
    for name in ("a", "b"):
        with open_video(tmp_path / f"{name}.mp4", fps=None) as video:
            clips.append([frame.image_YXC.astype(int) for frame in video])
    assert len(clips[0]) == len(clips[1]) == 20
    assert max(float(abs(a - b).mean()) for a, b in zip(*clips, strict=True)) < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "6x"], "WIDTHxHEIGHT"),
        (["--size", "0x10"], "16 pixels"),
        (["--seconds", "0"], "above 0"),
        (["--fps", "0"], "above 0"),
        (["--out", "{folder}/v.xyz"], "ending"),
        (["--out", "{folder}/none/v.mp4"], "none"),
        (["--seed", "many"], "--seed"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(
    command: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = {"--seed": "1", "--seconds": "1", "--fps": "4", "--size": "64x48", "--out": str(tmp_path / "v.mp4")}
    given |= {arguments[0]: arguments[1].format(folder=tmp_path)}
    done = command("shapestream", "render", *(part for pair in given.items() for part in pair))
    assert done.status == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_events_are_rows_of_a_time_and_a_text(command: Command, tmp_path: Path) -> None:
    events = tmp_path / "events.json"
    done = command(
        "shapestream", "render", "--seed", 11, "--seconds", 20, "--fps", 2, "--size", "64x48",
        "--out", tmp_path / "v.mp4", "--events", events, "--sample-fps", 2,
    )  # fmt: skip
    assert done.status == 0, done.err
    script = make_script(11, 20.0)
    assert json.loads(events.read_text()) == [
        {"time_s": round(event.time_seconds, 3), "text": event.text} for event in commentary_events(script, fps=2)
    ]
