"""`hermes-stream eval commentary` and `commentary-report` on a tiny published folder, before a real HTTP judge."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import hermes_stream.models.load
from tests.cli.conftest import Done
from tests.evals.inf_streams.published import NAMES, SEGMENT, START, write, write_lines
from tests.evals.judges.chat_server import chat_server

Command = Callable[..., Done]
CUT = ("--start", START, "--segment", SEGMENT, "--min-words", 1)
MODEL = ("--model", "tiny-llava-onevision", "--budget", 64, "--tokens-per-second", 2)
RUNS = tuple(f"tiny-llava-onevision_{name}-at-64_infinite" for name in ("hermes", "sliding-window"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("inf-streams") / "data")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs without a model: one says what the transcript does, the other that it sees nothing."""
    for name, text in zip(RUNS, ("red circle", "nothing"), strict=True):
        (tmp_path / "runs" / name).mkdir(parents=True)
        items = [{"start_time": n, "end_time": n + 1, "response": f"{text} {n}"} for n in range(START, 12)]
        lines = [{"video": video, "chunk_start": START, "chunk_end": 12, "items": items} for video in NAMES]
        write_lines(tmp_path / "runs" / name / "pieces.jsonl", lines)
        settings = {"model": "m", "start_seconds": START, "segment_seconds": SEGMENT, "min_words": 1}
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps(settings))
    return tmp_path / "runs"


def fair(prompt: str) -> str:
    first = prompt.splitlines()[prompt.splitlines().index("Speaker A:") + 1]
    return "A" if first.startswith("red") else "B"


def test_a_row_for_each_memory_and_nothing_twice(command: Command, data: Path, tmp_path: Path) -> None:
    words = ("eval", "commentary", "--data", data, "--out", tmp_path, *CUT, *MODEL, "--json")
    done = command(*words, "--memory", "hermes,sliding-window")
    assert done.status == 0, done.err
    assert [row["run"] for row in done.rows] == list(RUNS)
    for row in done.rows:
        assert (row["segments"], row["n_uncovered"], row["mode"], row["past"]) == (6, 0, "infinite", "reference")
        assert row["words_per_minute"] > 0
        assert 0 <= row["rouge_l"]["low"] <= row["rouge_l"]["mean"] <= row["rouge_l"]["high"] <= 1
    settings = json.loads((tmp_path / RUNS[0] / "run.json").read_text())
    assert (len(settings["model_sha256"]), settings["policy"], settings["min_words"]) == (64, "hermes at 64", 1)
    again = command(*words, "--memory", "hermes")
    assert "6 of them done before" in again.err
    assert again.rows == done.rows[:1]
    assert command("eval", "commentary-report", tmp_path, "--data", data, "--json").rows == done.rows


def test_a_judge_compares_runs_and_its_replies_are_kept(command: Command, data: Path, runs: Path) -> None:
    with chat_server(fair) as server:
        words = ("eval", "commentary-report", runs, "--data", data, "--judge", f"{server.url}#judge@v1", "--json")
        done = command(*words, "--out", runs / "report")
        assert done.status == 0, done.err
        n_asked = len(server.requests)
        assert command(*words, "--out", runs / "report").rows == done.rows
        assert len(server.requests) == n_asked == 12
    assert "duel" not in done.rows[0]
    duel = done.rows[1]["duel"]
    assert (duel["against"], duel["rate"]["mean"], duel["n_losses"], duel["order_agreement"]) == (RUNS[0], 0, 6, 1)
    assert (duel["judge"]["model"], duel["judge"]["revision"], duel["judge"]["served_model"]) == (
        "judge", "v1", "judge-2026-01-01",
    )  # fmt: skip
    segments = (runs / "report" / f"{RUNS[1]}_against_{RUNS[0]}.jsonl").read_text().splitlines()
    assert [json.loads(line)["winner"] for line in segments] == ["B"] * 6
    assert len((runs / "report" / "results.jsonl").read_text().splitlines()) == 2


def test_what_a_judge_refuses_is_not_sent(command: Command, data: Path, runs: Path) -> None:
    with chat_server(fair) as server:
        given = ("--data", data, "--judge", f"{server.url}#judge")
        pinned = command("eval", "commentary-report", runs, *given)
        n_asked = len(server.requests)
        unpinned = command("eval", "commentary-report", runs, *given, "--unpinned")
    assert (pinned.status, unpinned.status) == (0, 0)
    assert unpinned.out == pinned.out
    assert all(request["temperature"] == 0 for request in server.requests[:n_asked])
    assert {name for request in server.requests[n_asked:] for name in request} == {"model", "messages"}
    assert len(server.requests) == 2 * n_asked, "it is another judge"


def test_the_truth_alone_is_another_question(command: Command, data: Path, runs: Path) -> None:
    with chat_server(fair) as server:
        given = ("--data", data, "--judge", f"{server.url}#judge", "--json")
        duels = [
            command("eval", "commentary-report", runs, *given, *more).rows[1]["duel"] for more in ((), ("--truth",))
        ]
        assert len(server.requests) == 24
        assert len({request["messages"][0]["content"] for request in server.requests}) == 2
    assert [duel["judge"]["question"] for duel in duels] == ["own", "truth"]
    assert len({duel["judge"]["prompt_sha256"] for duel in duels}) == 2


def test_a_judge_that_fails_midway_is_gone_on_with(command: Command, data: Path, runs: Path) -> None:
    n_asked = itertools.count()
    with chat_server(lambda prompt: fair(prompt) if next(n_asked) < 5 else 401) as server:
        words = ("eval", "commentary-report", runs, "--data", data, "--judge", f"{server.url}#judge", "--json")
        half = command(*words)
        assert half.status == 1
        assert "segments were not judged" in half.err
        assert "put one into OPENAI_API_KEY" in half.err
        assert half.rows[1]["duel"]["n_unjudged"] > 0
        n_before, server.answer = len(server.requests), fair
        whole = command(*words)
        assert len(server.requests) == n_before + 7, "5 of 12 replies were kept"
    assert whole.status == 0
    assert (whole.rows[1]["duel"]["n_unjudged"], whole.rows[1]["duel"]["n_losses"]) == (0, 6)


def test_predictions_of_others_are_an_opponent_and_tables_are_for_people(
    command: Command, data: Path, runs: Path, tmp_path: Path
) -> None:
    items = [{"end_time": n, "text": "red square"} for n in range(3, 11)]
    write_lines(tmp_path / "gpt.jsonl", [{"video": NAMES[0], "chunk_start": 0, "chunk_end": 10, "items": items}])
    with chat_server(fair) as server:
        given = ("--data", data, "--judge", f"{server.url}#judge", "--against", tmp_path / "gpt.jsonl")
        done = command("eval", "commentary-report", runs / RUNS[1], *given)
    assert done.status == 0, done.err
    for part in (
        "wins against gpt before judge (own question)",
        "ROUGE-L",
        "not both watched",
        "orders agree",
        RUNS[1],
    ):
        assert part in done.out
    assert "…" not in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--start", "-1"), "start_seconds is -1"),
        (("--memory", "hermse"), "did you mean hermes"),
        (("--data", "/nowhere"), "/nowhere is no folder"),
        (("--tokens-per-second", "0"), "tokens_per_second is 0"),
        (("--fps", "nan"), "fps is nan"),
        (("--prompts", "/nowhere"), "--prompts names a copy"),
        (("--start", "1000"), "0 segments to score"),
    ],
)
def test_what_cannot_be_narrated_is_said_before_a_model_is_loaded(
    command: Command,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, str],
    message: str,
) -> None:
    monkeypatch.setattr(hermes_stream.models.load, "load_adapter", lambda *_, **__: pytest.fail("a model was loaded"))
    given = (
        dict(zip(CUT[::2], CUT[1::2], strict=True)) | {"--data": data, "--out": tmp_path} | {arguments[0]: arguments[1]}
    )
    assert_one_line(command("eval", "commentary", *itertools.chain(*given.items())), message)


def test_nobody_begins_where_one_memory_cannot_narrate(command: Command, data: Path, tmp_path: Path) -> None:
    given = ("--data", data, "--out", tmp_path, *CUT, *MODEL, "--memory", "hermes,sliding-window(budget=1)")
    assert_one_line(command("eval", "commentary", *given), "cannot hold one frame")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_reported_is_one_line(command: Command, data: Path, runs: Path) -> None:
    for given, message in (
        ((), "no run was given"),
        ((runs / "nothing",), "holds no run"),
        ((runs / RUNS[0], "--judge", "http://localhost#j"), "is alone"),
        ((runs, "--judge", "http://localhost#j", "--prompts", "/nowhere"), "--prompts names a copy"),
        ((runs, "--judge", "http://localhost#j", "--prompts", "/x", "--truth"), "are two questions"),
        ((runs, "--judge", "nobody#j"), "is no address of a judge"),
        ((runs, "--judge", "http://localhost"), "names no model"),
        ((runs, "--judge", "http://localhost#j", "--against", runs), "holds 2 runs"),
    ):
        assert_one_line(command("eval", "commentary-report", *given, "--data", data), message)


def test_the_documentation_s_folder_can_be_narrated(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "inf-streams.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (line,) = [line for line in text.splitlines() if line.startswith("hermes-stream") and "--data data" in line]
    monkeypatch.chdir(tmp_path)
    code = code.replace('Path("data"), 100', 'Path("data"), 40')
    exec(compile(code, "inf-streams.md", "exec"), {})
    done = command(*shlex.split(line)[1:], "--json")
    assert done.status == 0, done.err
    assert [(row["policy"], row["segments"]) for row in done.rows] == [("streaming-vlm", 2), ("keep-all", 2)]
    assert done.rows[0]["rouge_l"]["mean"] > 0.6, "the bundled speaker says what happens"


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(command: Command, data: Path, tmp_path: Path) -> None:
    """The process ends in the middle of a video, without a chance to put anything in order."""
    words = ("eval", "commentary", "--data", data, *CUT, *MODEL, "--memory", "hermes", "--json")
    code = "from hermes_stream.cli.main import main; main()"
    pieces = tmp_path / "killed" / RUNS[0] / "pieces.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words), "--out", str(tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        while process.poll() is None and not (pieces.exists() and pieces.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert 0 < pieces.read_bytes().count(b"\n") < 6
    killed, whole = command(*words, "--out", tmp_path / "killed"), command(*words, "--out", tmp_path / "whole")
    assert killed.rows == whole.rows
    assert pieces.read_bytes() == (tmp_path / "whole" / RUNS[0] / "pieces.jsonl").read_bytes()


def assert_one_line(done: Done, message: str) -> None:
    assert done.status == 2, done.err
    (line,) = [line for line in done.err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("error: ")
    assert message in line
    assert done.out == ""
