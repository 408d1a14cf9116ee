"""Snapshots, forks, earlier times and deletion, through the API and `hermes-stream sessions`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.shapestream import EVALUATION_SEEDS, make_script, write_episode

from .conftest import RunningServer, run_command, server_process
from .pushing import episode_jpeg, pushing, state_of, wait_for_frames, wait_until

_SCRIPT = make_script(EVALUATION_SEEDS[11], 40)
_N = 24


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with a state folder and a folder of videos, which stands beside it."""
    folder = tmp_path_factory.mktemp("keeping")
    (folder / "videos").mkdir()
    write_episode(_SCRIPT, folder / "videos" / "episode.mp4", fps=8, width=192, height=108)
    arguments = ("--state-dir", folder / "state", "--allow-local-files", folder / "videos", "--save-seconds", "3600")
    with server_process(*arguments) as running:
        yield running


@contextmanager
def watched(server: RunningServer, n: int = _N, **spec: Any) -> Iterator[str]:
    """A session that has seen an episode, a frame a second."""
    name = server.http.post("/v1/sessions", json=spec).json()["id"]
    with pushing(server, name) as pusher:
        for second in range(n):
            pusher.push(second, episode_jpeg(_SCRIPT, second))
            wait_for_frames(server, name, second + 1)
    yield name
    server.http.delete(f"/v1/sessions/{name}")


def ask(
    server: RunningServer, session: str, question: str = "What object came first?", **fields: Any
) -> dict[str, Any]:
    answer = server.http.post(f"/v1/sessions/{session}/ask", json={"question": question, **fields})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def post(server: RunningServer, session: str, what: str, **body: Any) -> Any:
    answer = server.http.post(f"/v1/sessions/{session}/{what}", json=body)
    assert answer.is_success, answer.text
    return answer.json()


def test_a_fork_has_the_same_past_and_a_future_of_its_own(keeping: RunningServer) -> None:
    with watched(keeping, 8) as name:
        twin = post(keeping, name, "fork", name="twin")
        assert (twin["frames_seen"], twin["memory"], twin["name"]) == (8, "hermes", "twin")
        assert ask(keeping, twin["id"])["answer"] == ask(keeping, name)["answer"]
        with pushing(keeping, twin["id"]) as pusher:
            pusher.push(8.0, episode_jpeg(_SCRIPT, 8))
            wait_for_frames(keeping, twin["id"], 9)
        assert state_of(keeping, name)["frames_seen"] == 8
        refused = keeping.http.post(f"/v1/sessions/{name}/fork", json={"memory": "keep-all", "budget": 3})
        assert refused.status_code == 400
        assert "leave out memory, budget" in refused.json()["error"]["message"]
        keeping.http.delete(f"/v1/sessions/{twin['id']}")


def test_a_downloaded_snapshot_is_a_session_again(keeping: RunningServer, tmp_path: Path) -> None:
    with watched(keeping, 8) as name:
        data = keeping.http.get(f"/v1/sessions/{name}/snapshot").content
        (tmp_path / "file").write_bytes(data)
        Snapshot.load(tmp_path / "file")
        restored = keeping.http.post("/v1/restore", content=data)
        assert restored.status_code == 201, restored.text
        assert ask(keeping, restored.json()["id"])["answer"] == ask(keeping, name)["answer"]
        keeping.http.delete(f"/v1/sessions/{restored.json()['id']}")
        for bad in (b"", b"no snapshot", data[: len(data) // 2], data[:-9] + b"another!!"):
            refused = keeping.http.post("/v1/restore", content=bad)
            assert refused.status_code == 400, refused.text


def test_no_client_chooses_a_folder_of_the_server(keeping: RunningServer, tmp_path: Path) -> None:
    refused = keeping.http.post("/v1/sessions", json={"memory": f"rekv(disk={tmp_path})"})
    assert refused.status_code == 400
    assert "folder of the server" in refused.json()["error"]["message"]


@pytest.mark.parametrize("memory", ["keep-all", "hermes(budget=28)", "rekv"])
def test_answers_as_of_a_time_know_nothing_of_later(keeping: RunningServer, memory: str) -> None:
    with watched(keeping, _N, memory=memory) as name, watched(keeping, 10, memory=memory) as then:
        past = ask(keeping, name, "What object is visible now?", as_of_s=9.0)
        assert past["as_of"]["seen_until_s"] <= 9.0
        assert all(each["time_s"] <= 9.0 for each in past["evidence"])
        if memory == "keep-all":
            assert past["as_of"]["is_exact"]
            assert past["answer"] == ask(keeping, then, "What object is visible now?")["answer"]
        assert state_of(keeping, name)["frames_seen"] == _N
        refused = keeping.http.post(f"/v1/sessions/{name}/ask", json={"question": "?", "as_of_s": 99})
        assert (refused.status_code, "up to then" in refused.text) == (400, True)


def test_where_the_memory_has_forgotten_an_earlier_snapshot_answers(keeping: RunningServer) -> None:
    """A window of two frames knows nothing of ten seconds ago; the snapshot of then does."""
    name = keeping.http.post("/v1/sessions", json={"memory": "sliding-window(budget=8)"}).json()["id"]
    then = {}
    with pushing(keeping, name) as pusher:
        for second in range(_N):
            pusher.push(second, episode_jpeg(_SCRIPT, second))
            wait_for_frames(keeping, name, second + 1)
            if second == 9:
                saved = post(keeping, name, "snapshot")
                assert saved["time_s"] == 9.0
                then = ask(keeping, name, "What object is visible now?")
    past = ask(keeping, name, "What object is visible now?", as_of_s=9.0)
    assert (past["as_of"]["from"], past["as_of"]["snapshot_time_s"]) == ("snapshot", 9.0)
    assert (past["answer"], past["time_s"]) == (then["answer"], 9.0)
    assert [row["time_s"] for row in keeping.http.get(f"/v1/sessions/{name}/snapshots").json()["data"]] == [9.0]
    keeping.http.delete(f"/v1/sessions/{name}")


def test_a_deleted_range_is_nowhere_any_more(keeping: RunningServer) -> None:
    with watched(keeping, 12, memory="keep-all") as name:
        post(keeping, name, "snapshot")
        ask(keeping, name, dialogue="d")
        report = post(keeping, name, "forget", start_s=4.0, end_s=8.0)
        assert report["thumbnails"] == 4
        assert report["snapshots"] == 1
        assert report["n_vision_rows"] > 0
        assert any("answers given later" in line for line in report["remains"])
        held = keeping.http.get(f"/v1/sessions/{name}/memory").json()["times_s"]
        assert held == [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0]
        nearest = keeping.http.get(f"/v1/sessions/{name}/thumbnail", params={"time_s": 5.0}).headers["x-time-s"]
        assert float(nearest) in (3.0, 8.0)
        [snapshot] = keeping.http.get(f"/v1/sessions/{name}/snapshots").json()["data"]
        assert snapshot["time_s"] == 11.0
        [deleted] = keeping.http.get(f"/v1/sessions/{name}/journal", params={"kind": "deleted"}).json()["data"]
        assert (deleted["start_s"], deleted["end_s"]) == (4.0, 8.0)
        for bad in ({"start_s": 5, "end_s": 5}, {"start_s": -1, "end_s": 5}, {"start_s": 1}):
            assert keeping.http.post(f"/v1/sessions/{name}/forget", json=bad).status_code == 400
        refused = keeping.http.post(f"/v1/sessions/{name}/forget", json={"start_s": 0, "end_s": 1, "rebuild": True})
        assert refused.status_code == 400
        assert "were pushed" in refused.json()["error"]["message"]


def test_a_rebuilt_session_is_as_if_it_had_never_seen_the_range(keeping: RunningServer) -> None:
    spec = {"source": "episode.mp4", "speed": 0, "memory": "keep-all"}
    name = keeping.http.post("/v1/sessions", json=spec).json()["id"]
    wait_until(keeping, name, lambda state: state["state"] == "ended")
    n_before = state_of(keeping, name)["frames_seen"]
    report = post(keeping, name, "forget", start_s=10.0, end_s=20.0, rebuild=True)
    assert not any("rows" in line for line in report["remains"])
    state = wait_until(keeping, name, lambda state: state["state"] == "ended")
    assert state["frames_seen"] == n_before - 10
    assert [(gap["start_s"], gap["end_s"]) for gap in state["gaps"]] == [(10.0, 20.0)]
    held = keeping.http.get(f"/v1/sessions/{name}/memory").json()["times_s"]
    assert held == [float(second) for second in range(n_before) if not 10 <= second < 20]
    keeping.http.delete(f"/v1/sessions/{name}")


def test_the_command_line_does_all_of_it(keeping: RunningServer, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = run_command("sessions", *arguments, "--server", keeping.address)
        assert done.returncode == 0, done.stderr
        return done.stdout

    name = json.loads(run("open", "episode.mp4", "--speed", 0, "--memory", "keep-all", "--json"))["id"]
    wait_until(keeping, name, lambda state: state["state"] == "ended")
    assert name in run("list")
    assert run("ask", name, "What object came first?").strip() == ask(keeping, name)["answer"]
    answer = json.loads(run("ask", name, "What object is visible now?", "--as-of", 5, "--json"))
    assert answer["as_of"]["time_s"] == 5.0
    run("save", name, tmp_path / "memory.safetensors")
    restored = json.loads(run("restore", tmp_path / "memory.safetensors", "--json"))
    twin = json.loads(run("fork", name, "--json"))
    assert restored["frames_seen"] == twin["frames_seen"] == state_of(keeping, name)["frames_seen"]
    assert json.loads(run("forget", name, "--start", 3, "--end", 6, "--json"))["thumbnails"] == 3
    for each in (name, restored["id"], twin["id"]):
        run("delete", each)
    failed = run_command("sessions", "ask", name, "Why?", "--server", keeping.address)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "there is no session" in failed.stderr
