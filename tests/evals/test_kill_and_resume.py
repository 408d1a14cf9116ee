"""Real processes that are killed at any moment: the same command goes on, and the result is the uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hermes_stream.evals.reply_log import ReplyLog, Shard, count_replies, read_replies
from tests.evals.published import PutVideo, published

pytestmark = pytest.mark.slow

_START = "from hermes_stream.cli.main import main; main()"
_MEMORIES = "hermes,sliding-window,uniform"
N_LINES = 3 * 9


@pytest.fixture
def data(tmp_path: Path, put_video: PutVideo) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    published("videomme").write(folder, put_video)
    return folder


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", _START, "eval", "videomme", "--data", str(data), "--out", str(out)]
    words += ["--model", "tiny-llava-onevision", "--memory", _MEMORIES, "--budget", "16", "--no-references", *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


def finish(data: Path, out: Path, *more: str) -> bytes:
    running = start(data, out, *more)
    shown, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    return shown


def kill_after(running: subprocess.Popen[bytes], out: Path, n_lines: int) -> None:
    """SIGKILL, children and all, as soon as so many replies are written."""
    until = time.monotonic() + 120
    while running.poll() is None and count_replies(out) < n_lines and time.monotonic() < until:
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()


def assert_each_asked_once(out: Path) -> None:
    lines = [json.loads(line) for path in out.glob("replies*.jsonl") for line in path.read_text().splitlines()]
    asked = [(line["entry"], line["key"]) for line in lines if "key" in line]
    assert len(asked) == len(set(asked)) == N_LINES


def test_a_run_that_is_killed_again_and_again_ends_like_one_that_is_not(data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    shown = finish(data, whole)
    for n_lines in sorted(random.Random(7).sample(range(1, N_LINES), 3)):
        kill_after(start(data, killed), killed, n_lines)
        assert count_replies(killed) < N_LINES + 3
    assert finish(data, killed) == shown
    assert read_replies(killed).by_entry == read_replies(whole).by_entry
    assert_each_asked_once(killed)


def test_a_worker_that_fails_is_named_and_what_the_others_have_stays(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    # Somebody else writes one part.
    with ReplyLog(out, Shard(1, 2)):
        running = start(data, out, "--workers", "2")
        running.communicate(timeout=120)
    assert running.returncode == 1
    assert count_replies(out) >= 2 * 9
    finish(data, out, "--workers", "2")
    assert_each_asked_once(out)


def test_workers_that_are_killed_go_on_with_one_command(data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(data, whole)
    kill_after(start(data, killed, "--workers", "2"), killed, 7)
    finish(data, killed, "--workers", "2")
    assert read_replies(killed).by_entry == read_replies(whole).by_entry
    assert_each_asked_once(killed)
