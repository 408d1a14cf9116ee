"""`hermes-stream eval BENCHMARK`: from a folder as published to replies, manifest and report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hermes_stream.evals.wall_clock
import hermes_stream.models.load
from hermes_stream.evals.reply_log import read_replies
from hermes_stream.shapestream import make_script, write_episode
from tests.cli.conftest import Done
from tests.evals.conftest import put_video
from tests.evals.judges.chat_server import chat_server
from tests.evals.published import PutVideo, published

Command = Callable[..., Done]
MODEL = ("--model", "tiny-llava-onevision", "--budget", "16")
SMALL = (*MODEL, "--memory", "hermes,sliding-window", "--no-references")
N_QUESTIONS, N_VIDEOS = 9, 3

__all__ = ["put_video"]


@pytest.fixture
def data(tmp_path: Path, put_video: PutVideo) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    published("videomme").write(folder, put_video)
    return folder


def evaluate(command: Command, data: Path, out: Path, *more: object) -> Done:
    return command("eval", "videomme", "--data", data, "--out", out, *SMALL, *more)


def texts(out: Path) -> dict[str, dict[str, str]]:
    return {
        entry: {key: reply.text for key, reply in replies.items()}
        for entry, replies in read_replies(out).by_entry.items()
    }


def manifest(out: Path, name: str = "manifest.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / name).read_text())
    return found


def test_a_run_leaves_replies_a_manifest_and_a_report(command: Command, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = evaluate(command, data, out, "--json")
    assert done.status == 0, done.err
    assert set(texts(out)) == {"hermes at 16", "sliding-window at 16"}
    assert all(len(replies) == N_QUESTIONS for replies in texts(out).values())
    memories = [row for row in done.rows if row["kind"] == "memory"]
    assert [(row["memory"], row["mode"], row["n"], row["videos"]) for row in memories] == [
        (memory, mode, N_QUESTIONS, N_VIDEOS)
        for mode in ("official", "strict")
        for memory in ("hermes", "sliding-window")
    ]
    said = manifest(out)
    assert said["model"]["name"] == "tiny-llava-onevision"
    assert len(said["model"]["sha256"]) == len(said["prompt"]["sha256"]) == len(said["annotation_sha256"]) == 64
    assert said["video"]["fps"] == 1.0
    assert said["entries"]["hermes at 16"]["budget_tokens"] == 16
    assert said["entries"]["hermes at 16"]["budget_bytes"] > 16
    (run,) = said["runs"]
    assert {"started", "ended", "wall_seconds", "machine"} <= set(run)
    assert run["machine"]["torch"]


def test_rows_of_recent_and_uniform_frames_are_offered_unasked(command: Command, data: Path, tmp_path: Path) -> None:
    done = command(
        "eval", "videomme", "--data", data, "--out", tmp_path / "out", *MODEL, "--memory", "hermes", "--json"
    )
    assert [row["memory"] for row in done.rows if row["kind"] == "memory" and row["mode"] == "strict"] == [
        "hermes", "recent-frames(frames=1)", "recent-frames(frames=2)", "recent-frames(frames=4)",
        "recent-frames(frames=8)", "uniform-frames(frames=64)", "uniform-frames(frames=0)",
    ]  # fmt: skip


def test_what_is_answered_is_not_asked_again(command: Command, data: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    evaluate(command, data, whole)
    lines = (whole / "replies.jsonl").read_text().splitlines(keepends=True)
    shutil.copytree(whole, part)
    # In the middle of the second video, and of a line.
    (part / "replies.jsonl").write_text("".join(lines[:9]) + lines[9][:20])
    done = evaluate(command, data, part)
    assert done.status == 0, done.err
    assert f"{2 * N_QUESTIONS - 8} questions to ask" in done.err
    assert texts(part) == texts(whole)
    keys = [json.loads(line) for line in (part / "replies.jsonl").read_text().splitlines()]
    asked = [(line["entry"], line["key"]) for line in keys if "key" in line]
    assert len(asked) == len(set(asked)) == 2 * N_QUESTIONS
    assert len(manifest(part)["runs"]) == 2
    before = (part / "replies.jsonl").read_bytes()
    again = evaluate(command, data, part)
    assert "0 questions to ask" in again.err
    assert (part / "replies.jsonl").read_bytes() == before


def test_a_memory_that_comes_later_is_added(command: Command, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(command, data, out)
    done = command("eval", "videomme", "--data", data, "--out", out, *MODEL, "--memory", "uniform", "--no-references")
    assert done.status == 0, done.err
    assert f"{N_QUESTIONS} questions to ask" in done.err
    assert list(manifest(out)["entries"]) == ["hermes at 16", "sliding-window at 16", "uniform at 16"]
    assert "uniform" in done.out


def test_another_setting_in_the_same_folder_is_refused_by_its_difference(
    command: Command, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evaluate(command, data, out)
    before = (out / "replies.jsonl").read_bytes()
    done = evaluate(command, data, out, "--fps", "2")
    assert done.status == 2
    assert "video {'fps': 1.0}, and this run has {'fps': 2.0}; give another --out" in done.err
    assert (out / "replies.jsonl").read_bytes() == before


def test_shards_together_are_the_whole(command: Command, data: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    evaluate(command, data, whole)
    for index in range(2):
        done = evaluate(command, data, parts, "--shard", f"{index}/2")
        assert done.status == 0, done.err
        assert done.out == ""
    assert texts(parts) == texts(whole)
    assert (parts / "manifest-0-of-2.json").exists()
    assert command("report", parts, "--format", "csv").out == command("report", whole, "--format", "csv").out


def test_a_missing_video_stops_the_run_and_may_be_passed_over(command: Command, data: Path, tmp_path: Path) -> None:
    (data / "data" / "ghi-JKL6789.mp4").unlink()
    out = tmp_path / "out"
    done = evaluate(command, data, out)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert "lacks 1 of 3 videos: data/ghi-JKL6789.mp4; download them, or go on without them by --skip-missing" in line
    assert not out.exists()
    done = evaluate(command, data, out, "--skip-missing", "--json")
    assert done.status == 0, done.err
    assert "3 of 9 questions are about videos that are missing; not counted" in done.err
    assert {row["n"] for row in done.rows if row["kind"] == "memory"} == {6}
    assert manifest(out)["problems"][0]["video"] == "data/ghi-JKL6789.mp4"


def test_a_video_that_cannot_be_decoded_is_wrong_in_every_memory_and_asked_again_next_time(
    command: Command, data: Path, tmp_path: Path
) -> None:
    out, video = tmp_path / "out", data / "data" / "ghi-JKL6789.mp4"
    whole = video.read_bytes()
    video.write_bytes(b"no video at all")
    done = evaluate(command, data, out, "--json")
    assert done.status == 0, done.err
    assert "error: data/ghi-JKL6789.mp4" in done.err
    assert {(row["n"], row["n_unanswered"]) for row in done.rows if row["kind"] == "memory"} == {(9, 3)}
    video.write_bytes(whole)
    done = evaluate(command, data, out, "--json")
    assert "6 questions to ask" in done.err
    assert {(row["n"], row["n_unanswered"]) for row in done.rows if row["kind"] == "memory"} == {(9, 0)}


def test_a_video_that_is_not_whole_is_asked_of_what_there_is_and_named(
    command: Command, data: Path, tmp_path: Path
) -> None:
    video = data / "data" / "ghi-JKL6789.mp4"
    whole = make_script(900_050, 20.0)
    write_episode(whole, tmp_path / "long.mkv", fps=4, width=128, height=72)
    content = (tmp_path / "long.mkv").read_bytes()
    video.write_bytes(content[: len(content) // 2])
    done = evaluate(command, data, tmp_path / "out")
    assert done.status == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "ghi-JKL6789" in line]
    assert "what comes later was asked of what there is" in line
    replies = read_replies(tmp_path / "out").by_entry["hermes at 16"]
    assert replies["902-1"].error is None
    assert replies["902-1"].time_seconds < 19


def test_logits_are_a_reading_of_their_own(command: Command, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = evaluate(command, data, out, "--logits", "--json")
    assert {row["mode"] for row in done.rows} == {"official", "strict", "logits"}
    reply = read_replies(out).by_entry["hermes at 16"]["901-1"]
    assert sum((reply.probabilities or {}).values()) == pytest.approx(1, abs=1e-5)


@pytest.fixture
def open_data(tmp_path: Path, put_video: PutVideo) -> Path:
    folder = tmp_path / "rvs"
    folder.mkdir()
    published("rvs_ego").write(folder, put_video)
    return folder


def test_open_answers_wait_for_a_judge_and_two_judges_are_compared(
    command: Command, open_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = command("eval", "rvs_ego", "--data", open_data, "--out", out, *SMALL)
    assert done.status == 0, done.err
    assert "the replies are there, and need a judge" in done.err
    refused = command("report", out)
    assert refused.status == 2
    assert "need a judge; name one" in refused.err
    judged = command("report", out, "--judge", "fuzzy,exact", "--format", "json")
    assert judged.status == 0, judged.err
    assert "the judges agree on" in judged.err
    rows = [row for row in judged.rows if row["kind"] == "memory"]
    assert {row["n"] for row in rows} == {6}
    assert all(row["judge"] and "mean score" in row["averages"] for row in rows)
    assert "other model, judge" in command("report", out, "--judge", "fuzzy").out


def test_what_a_judge_said_is_kept_and_a_judge_that_fails_loses_nothing(
    command: Command, open_data: Path, tmp_path: Path
) -> None:
    out, n_failing = tmp_path / "out", 100
    command("eval", "rvs_ego", "--data", open_data, "--out", out, *SMALL)

    def answer(said: str) -> str | int:
        return 400 if len(server.requests) > n_failing else '{"pred": "yes", "score": 4}'

    def hermes(done: Done) -> dict[str, Any]:
        assert done.status == 0, done.err
        (row,) = [row for row in done.rows if (row["memory"], row["mode"]) == ("hermes", "official")]
        return row

    with chat_server(answer) as server:
        judge = ("--judge", f"{server.url}#judge", "--format", "json")
        n_failing = 3
        failed = command("report", out, *judge)
        assert hermes(failed)["extras"]["not judged"] > 0
        assert "note: rvs_ego on tiny-llava-onevision: " in failed.err
        n_failing = 100
        done = command("report", out, *judge)
        n_asked = len(server.requests)
        assert command("report", out, *judge).rows == done.rows
        assert len(server.requests) == n_asked
    assert hermes(done)["extras"] == {}
    assert hermes(done)["averages"]["accuracy"]["value"] == 100
    assert hermes(done)["averages"]["mean score"]["value"] == 4


@pytest.mark.slow
def test_by_the_clock_first_tokens_and_lost_frames_are_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(hermes_stream.evals.wall_clock, "_SUSTAIN_SECONDS", 0.3)
    done = evaluate(command, data, tmp_path / "out", "--wall-clock", "--speed", "8", "--json")
    assert done.status == 0, done.err
    for row in done.rows:
        if row["kind"] == "memory":
            told = row["by_clock"]
            assert 0 < told["ttft_ms_p50"] <= told["ttft_ms_p95"]
            assert told["n_offered"] == 8 * N_VIDEOS
            assert told["sustained_fps"] > 0
    assert "frames dropped" in command("report", tmp_path / "out").out
    plain = evaluate(command, data, tmp_path / "out")
    assert plain.status == 2
    assert "wall_clock" in plain.err


@pytest.mark.slow
def test_shapestream_goes_through_the_same_runner(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("eval", "benchmark", "shapestream", "--out", out, *SMALL, "--shard", "0/10")
    assert done.status == 0, done.err
    report = command("report", out, "--format", "json")
    assert "are not answered by every memory yet" in report.err
    row = report.rows[0]
    assert row["averages"]["real-time"]["value"] > 80
    assert row["recall_delay"]["0"]["n"] > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["videommme"], "unknown benchmark 'videommme'; did you mean videomme"),
        (["videomme", "--no-out"], "no folder for the results; give one with --out"),
        (["videomme", "--no-data"], "videomme needs --data, a folder with"),
        (["videomme", "--splits", "shrot"], "did you mean short"),
        (["videomme", "--shard", "4/4"], "--shard is '4/4'"),
        (["videomme", "--workers", "0"], "--workers is 0"),
        (["videomme", "--workers", "2", "--shard", "0/2"], "not together with --shard"),
        (["videomme", "--workers", "2", "--wall-clock"], "--wall-clock needs the machine for one memory at a time"),
        (["videomme", "--speed", "2"], "--speed is 2.0; give a number above 0, and --wall-clock with it"),
        (["videomme", "--memory", "hermse"], "did you mean hermes"),
        (["videomme", "--context-seconds", "0"], "a context of 0 s was asked for"),
        (["videomme", "--fps", "0"], "--fps is 0"),
        (["videomme", "--max-new-tokens", "0"], "--max-new-tokens is 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_a_model_is_loaded(
    command: Command, monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(hermes_stream.models.load, "load_adapter", lambda *_, **__: pytest.fail("a model was loaded"))
    given = {"--out": str(tmp_path / "out"), "--data": str(data)}
    for name in list(given):
        if f"--no-{name[2:]}" in arguments:
            arguments = [word for word in arguments if word != f"--no-{name[2:]}"]
            del given[name]
    done = command("eval", *arguments, *(word for pair in given.items() for word in pair))
    assert done.status == 2, done.err
    (line,) = done.err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
