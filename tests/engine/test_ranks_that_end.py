"""A model over two processes, one of which is killed: the other ends, says why in a line, and nobody waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
import torch

from hermes_stream import load_model
from hermes_stream.engine.parallel import team as team_room
from hermes_stream.engine.parallel.member import Member
from hermes_stream.engine.parallel.team import Processes, Team
from hermes_stream.engine.parallel.wire import NOTHING_MORE
from hermes_stream.errors import RankError, SessionClosed
from hermes_stream.memory.rope import Rope
from hermes_stream.memory.sharded_slab import Shard
from tests.tiny import make_frames


@pytest.mark.slow
def test_a_rank_that_ends_takes_the_model_with_it_in_one_line(
    llava_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with load_model(str(llava_folder), tensor_parallel=2) as engine, engine.open("hermes") as session:
        session.watch(make_frames(4))
        (rank,) = _children()
        os.kill(rank, signal.SIGKILL)
        begun = time.monotonic()
        with pytest.raises(
            (RankError, SessionClosed), match=r"^rank 1 of the model ended \(.*\); load the model again$"
        ):
            session.watch(make_frames(20, start=4))
        assert time.monotonic() - begun < 30
        with pytest.raises((RankError, SessionClosed), match="rank 1 of the model ended"):
            engine.open("hermes")
    (told,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert told.message.startswith("rank 1 of the model ended")
    assert not told.exc_info


@pytest.mark.slow
def test_the_others_end_with_the_first_rank(llava_folder: Path) -> None:
    code = (
        "import sys, time; from hermes_stream import load_model\n"
        f"engine = load_model({str(llava_folder)!r}, tensor_parallel=2)\n"
        "print('loaded', flush=True); time.sleep(600)"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "loaded\n"
    first.kill()
    # Standard error is open as long as the other rank lives.
    _, errors = first.communicate(timeout=60)
    assert errors.splitlines()[-1].startswith("hermes-stream: the first rank of the model is gone")
    assert "Traceback" not in errors


def test_a_failure_of_the_first_rank_ends_the_model_too(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    process = subprocess.Popen([sys.executable, "-c", ""])
    member = cast(Member, Shard(0, 2, cast(Rope, None), torch.float32, torch.device("cpu")))
    team = Team(Processes([(process, ours)], tmp_path), member)

    def fail(shard: Shard) -> None:
        raise MemoryError(f"rank {shard.rank} has no room\nat all")

    with patch.object(team_room, "to_bytes", lambda _: b"calls"), pytest.raises(RankError) as told:
        team.now(fail)
    assert str(told.value) == "rank 0 of the model failed (rank 0 has no room); load the model again"
    assert [theirs.recv_bytes(), theirs.recv_bytes()] == [b"calls", NOTHING_MORE]
    assert process.returncode is not None
    with pytest.raises(RankError, match="rank 0 of the model failed"):
        team.later(print)
    theirs.close()


def _children() -> list[int]:
    """Processes of other ranks that this one has."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if (
            b"hermes_stream.engine.parallel.follower" in command
            and int(status.rsplit(")", 1)[1].split()[1]) == os.getpid()
        ):
            children.append(int(folder.name))
    return children
