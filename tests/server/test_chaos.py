"""kill -9 in the middle of a stream: nothing that was saved is lost, and what was not is stated."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.shapestream import EVALUATION_SEEDS, make_questions, make_script

from .conftest import RunningServer, server_process
from .pushing import episode_jpeg, pushing, state_of, wait_for_frames, wait_until

pytestmark = pytest.mark.slow

_SAVE_SECONDS = 1.0
_SEED = EVALUATION_SEEDS[7]
_WATCHED_SECONDS = 40


def _ask(server: RunningServer, session: str, questions: list[str], **fields: Any) -> list[dict[str, Any]]:
    answers = []
    for question in questions:
        answer = server.http.post(f"/v1/sessions/{session}/ask", json={"question": question, **fields})
        assert answer.status_code == 200, answer.text
        answers.append({name: answer.json()[name] for name in ("answer", "time_s", "frames_seen", "evidence")})
    return answers


def _questions() -> tuple[list[str], list[str]]:
    """Questions about what was shown before the last second of the episode, and their answers."""
    script = make_script(_SEED, _WATCHED_SECONDS + 1)
    asked = [q for q in make_questions(script, fps=1, every_seconds=0.5) if q.time_s > _WATCHED_SECONDS - 1]
    return [q.question for q in asked], [q.answer for q in asked]


def test_after_a_kill_pushed_sessions_answer_as_before_and_go_on(tmp_path: Path) -> None:
    script = make_script(_SEED, 2 * _WATCHED_SECONDS)
    texts, truths = _questions()
    arguments = ("--state-dir", tmp_path, "--save-seconds", str(_SAVE_SECONDS), "--model", "tiny-qwen2.5-vl")
    with server_process(*arguments) as server:
        name = server.http.post("/v1/sessions", json={"name": "door"}).json()["id"]
        with pushing(server, name) as pusher:
            for second in range(_WATCHED_SECONDS):
                pusher.push(second, episode_jpeg(script, second))
                wait_for_frames(server, name, second + 1)
        before = _ask(server, name, texts)
        server.http.post(f"/v1/sessions/{name}/ask", json={"question": texts[0], "dialogue": "d"}).raise_for_status()
        time.sleep(3 * _SAVE_SECONDS)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    with server_process(*arguments) as again:
        state = state_of(again, name)
        assert (state["name"], state["frames_seen"], state["state"]) == ("door", _WATCHED_SECONDS, "gap")
        assert _ask(again, name, texts) == before
        n_right = sum(answer["answer"] == truth for answer, truth in zip(before, truths, strict=True))
        assert n_right > len(truths) / 2, "answers that are wrong anyway would show nothing"
        journal = again.http.get(f"/v1/sessions/{name}/journal", params={"kind": "answer"}).json()["data"]
        assert len(journal) == 2 * len(texts) + 1
        with pushing(again, name) as pusher:
            pusher.say("session.config", resume=True)
            pusher.push(0.0, episode_jpeg(script, _WATCHED_SECONDS))
            resumed = wait_for_frames(again, name, _WATCHED_SECONDS + 1)
        [gap] = resumed["gaps"]
        assert gap["start_s"] == _WATCHED_SECONDS - 1
        assert gap["end_s"] == resumed["time_s"] > _WATCHED_SECONDS - 1


def test_after_a_kill_a_live_source_is_watched_again_and_no_more_is_missing_than_was_not_saved(tmp_path: Path) -> None:
    arguments = ("--state-dir", tmp_path, "--save-seconds", str(_SAVE_SECONDS))
    with server_process(*arguments) as server:
        spec = {"source": f"shapestream:{_SEED}", "memory": "keep-all", "fps": 2}
        name = server.http.post("/v1/sessions", json=spec).json()["id"]
        wait_for_frames(server, name, 12)
        known_until = state_of(server, name)["time_s"]
        wait_until(server, name, lambda state: state["time_s"] > known_until + 2 * _SAVE_SECONDS)
        earlier = _ask(server, name, ["What object came first?", "What were the last three objects?"], as_of_s=5.0)
        killed_at = state_of(server, name)["time_s"]
        server.end(signal.SIGKILL)
    with server_process(*arguments) as again:
        later = wait_until(again, name, lambda state: bool(state["gaps"]) and state["time_s"] > killed_at)
        [gap] = later["gaps"]
        assert gap["start_s"] >= known_until
        # A checkpoint every second, and what was on its way when it was made.
        assert killed_at - gap["start_s"] <= _SAVE_SECONDS + 2
        assert gap["end_s"] >= killed_at
        logged = again.http.get(f"/v1/sessions/{name}/journal", params={"kind": "gap"}).json()["data"]
        assert [(row["start_s"], row["end_s"]) for row in logged] == [(gap["start_s"], gap["end_s"])]
        assert (
            _ask(again, name, ["What object came first?", "What were the last three objects?"], as_of_s=5.0) == earlier
        )


def test_a_snapshot_of_another_model_is_refused_and_the_others_come_back(tmp_path: Path) -> None:
    with server_process("--state-dir", tmp_path) as server:
        name = server.http.post("/v1/sessions", json={}).json()["id"]
        with pushing(server, name) as pusher:
            pusher.push(0.0, episode_jpeg(make_script(_SEED, 5), 1))
            wait_for_frames(server, name, 1)
        snapshot = server.http.get(f"/v1/sessions/{name}/snapshot").content
        assert server.end() == 0
    with server_process("--state-dir", tmp_path, "--model", "tiny-qwen2.5-vl") as other:
        assert other.http.get("/v1/sessions").json()["data"] == []
        refused = other.http.post("/v1/restore", content=snapshot)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
        assert "tiny-llava-onevision" in refused.json()["error"]["message"]
        other.http.post("/v1/sessions", json={}).raise_for_status()
    with server_process("--state-dir", tmp_path) as again:
        assert [session["id"] for session in again.http.get("/v1/sessions").json()["data"]] == [name]
