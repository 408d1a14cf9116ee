"""What Prometheus is told, after actions of which the right numbers are known."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hermes_stream import Engine
from hermes_stream.errors import UsageError
from hermes_stream.server.settings import Limits

from ..tiny import make_frames
from .observed import Observed, held_up, observed

_N_LAYERS = 12


@pytest.fixture
def server(engine: Engine) -> Iterator[Observed]:
    with observed(engine) as server:
        yield server


def test_frames_and_tokens_are_counted_and_held_ones_by_session(server: Observed) -> None:
    live, other = server.open(), server.open()
    live.watch(make_frames(6))
    other.watch(make_frames(2))
    value = server.scrape()
    assert value("frames_total", outcome="seen") == 8
    assert value("tokens_total") == 8 * 9
    assert value("session_held_tokens", session=live.name) == 6 * 9 * _N_LAYERS
    assert value("session_time_seconds", session=live.name) == make_frames(6)[-1].pts_seconds
    assert value("session_memory_bytes", session=other.name) == other.session.stats.memory_bytes


def test_dropped_and_refused_frames_are_told_apart(server: Observed) -> None:
    live = server.open()
    live.take(make_frames(200))
    live.frames_refused += 3
    while live.session.stats.waiting_frames:
        time.sleep(0.01)
    value = server.scrape()
    dropped = value("frames_total", outcome="dropped")
    assert dropped == live.session.stats.frames_dropped > 0
    assert value("frames_total", outcome="seen") == 200 - dropped
    assert value("frames_total", outcome="refused") == 3


def test_compressions_are_counted(server: Observed) -> None:
    live = server.open(budget=20)
    live.watch(make_frames(40))
    assert server.scrape()("compressions_total") == live.session.stats.n_compressions > 0


def test_what_a_session_did_stays_counted_when_it_ends_and_its_labels_go(server: Observed) -> None:
    live = server.open()
    live.watch(make_frames(5))
    assert live.name in server.names("session")
    server.client.delete(f"/v1/sessions/{live.name}")
    assert server.scrape()("frames_total", outcome="seen") == 5
    assert live.name not in server.names("session")


def test_the_past_of_a_fork_is_not_counted_twice(server: Observed) -> None:
    live = server.open()
    live.watch(make_frames(5))
    server.client.post(f"/v1/sessions/{live.name}/fork", json={}).raise_for_status()
    assert server.scrape()("frames_total", outcome="seen") == 5


def test_sessions_are_counted_by_state(server: Observed) -> None:
    first, second, _ = server.open(), server.open(), server.open()
    first.begin_feed("push")
    second.end_feed("ended", "over")
    value = server.scrape()
    assert [value("sessions", state=state) for state in ("live", "ended", "gap")] == [1, 1, 1]


def test_answers_are_counted_and_timed(server: Observed) -> None:
    live = server.open()
    live.watch(make_frames(4))
    seconds = [server.ask(live, question="what?", max_new_tokens=2).json()["ttft_ms"] / 1000 for _ in range(3)]
    value = server.scrape()
    assert value("answers_total", outcome="answered") == value("ttft_seconds_count") == 3
    assert value("ttft_seconds_sum") == pytest.approx(sum(seconds), abs=1e-4)


def test_questions_that_are_refused_are_counted_as_that(server: Observed) -> None:
    live = server.open()
    assert server.ask(live, question="").status_code == 400
    value = server.scrape()
    assert value("answers_total", outcome="refused") == 1
    assert value("answers_total") == 1
    assert value("ttft_seconds_count") == 0


def test_questions_that_are_cancelled_are_counted_as_that(server: Observed) -> None:
    live = server.open()
    live.watch(make_frames(4))
    question = {"question": "what?", "stream": True, "id": "q"}
    path = f"/v1/sessions/{live.name}"
    with held_up(live) as go_on, server.client.stream("POST", f"{path}/ask", json=question) as response:
        lines = response.iter_lines()
        next(lines)
        assert server.scrape()("answers_total") == 0
        assert server.client.delete(f"{path}/questions/q").status_code == 204
        go_on.set()
        assert "session_closed" in "".join(lines)
    assert server.scrape()("answers_total", outcome="cancelled") == 1


def test_leaving_cancels_too(server: Observed) -> None:
    live = server.open()
    live.watch(make_frames(4))
    with held_up(live):
        question = {"question": "what?", "stream": True}
        with server.client.stream("POST", f"/v1/sessions/{live.name}/ask", json=question) as response:
            lines = response.iter_lines()
            next(lines)
        while not server.scrape()("answers_total", outcome="cancelled"):
            time.sleep(0.01)


def test_more_questions_than_a_minute_allows_are_refused_however_they_come(engine: Engine) -> None:
    with observed(engine, limits=Limits(questions_per_minute=5)) as server:
        live = server.open()
        live.watch(make_frames(4))
        statuses = in_parallel(12, lambda: server.ask(live, question="what?", max_new_tokens=1).status_code)
        assert sorted(statuses) == [200] * 5 + [429] * 7
        assert server.scrape()("answers_total", outcome="refused") == 7


def test_no_more_sessions_are_opened_at_once_than_one_key_may_have(engine: Engine) -> None:
    with observed(engine, limits=Limits(max_sessions_per_key=3)) as server:
        statuses = in_parallel(10, lambda: server.client.post("/v1/sessions", json={}).status_code)
        assert sorted(statuses) == [201] * 3 + [429] * 7


def test_questions_about_the_past_count_as_open_while_their_past_is_looked_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of the limit and the first forward lies the making of that past."""
    n_looking, is_over = 0, threading.Event()

    async def look(*_: object) -> None:
        nonlocal n_looking
        n_looking += 1
        while not is_over.is_set():
            await asyncio.sleep(0.01)
        raise UsageError("there is no past")

    monkeypatch.setattr("hermes_stream.server.questions.session_at", look)
    with observed(engine, limits=Limits(max_open_questions=2)) as server, ThreadPoolExecutor(2) as pool:
        live = server.open()
        waiting = [pool.submit(server.ask, live, question="what?", as_of_s=1.0) for _ in range(2)]
        while n_looking < 2:
            time.sleep(0.01)
        assert server.ask(live, question="what?", as_of_s=1.0).status_code == 429
        is_over.set()
        assert [each.result().status_code for each in waiting] == [400, 400]


def test_saves_are_timed_and_failures_counted(engine: Engine, tmp_path: Path) -> None:
    with observed(engine, state_dir=tmp_path, save_seconds=1000) as server:
        live = server.open()
        live.watch(make_frames(4))
        server.client.post(f"/v1/sessions/{live.name}/snapshot").raise_for_status()
        value = server.scrape()
        assert (value("checkpoint_seconds_count"), value("checkpoint_failures_total")) == (1, 0)
        other = server.open()
        (tmp_path / "sessions" / other.name).write_text("in the way")
        assert server.client.post(f"/v1/sessions/{other.name}/snapshot").status_code >= 400
        value = server.scrape()
        assert (value("checkpoint_seconds_count"), value("checkpoint_failures_total")) == (1, 1)
        server.client.delete(f"/v1/sessions/{other.name}")


def test_alerts_and_webhooks_are_counted(server: Observed) -> None:
    live = server.open()
    live.log("alert", 1.0, {"alert": "a"})
    live.bus.publish("webhook", {"outcome": "delivered"})
    live.bus.publish("webhook", {"outcome": "failed"})
    value = server.scrape()
    assert value("alerts_total") == 1
    assert value("webhooks_total", outcome="delivered") == value("webhooks_total", outcome="failed") == 1


def test_requests_are_counted_by_route_and_status(server: Observed) -> None:
    live = server.open()
    for _ in range(3):
        server.client.get(f"/v1/sessions/{live.name}")
    server.client.get("/v1/sessions/nobody")
    value = server.scrape()
    route = "/v1/sessions/{session_id}"
    assert value("http_requests_total", method="GET", route=route, status="200") == 3
    assert value("http_requests_total", method="GET", route=route, status="404") == 1


def test_strangers_cannot_make_labels(server: Observed) -> None:
    """Each label is a series that Prometheus keeps for ever."""
    server.client.get("/v1/nowhere")
    server.client.request("BREW", "/v1/nowhere")
    server.client.get("/v1/sessions/none")
    server.scrape()
    routes, methods = server.names("route"), server.names("method")
    for number in range(20):
        server.client.get(f"/v1/nowhere/{number}")
        server.client.request(f"BREW{number}", "/v1/nowhere")
        server.client.get(f"/v1/sessions/{number}")
    assert server.names("route") == routes
    assert server.names("method") == methods


def test_the_engines_promises_are_told(server: Observed, engine: Engine) -> None:
    before = server.scrape()("engine_memory_used_bytes", model=engine.model.name)
    server.open()
    value = server.scrape()
    assert value("engine_memory_used_bytes") == engine.stats.used_bytes > before
    assert value("engine_memory_limit_bytes") == engine.stats.limit_bytes


def in_parallel(n: int, do: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(n) as pool:
        return [each.result() for each in [pool.submit(do) for _ in range(n)]]
