"""What programs that watch a server are told."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import httpx2
import pytest

from hermes_stream import Engine
from hermes_stream.models.load import load_adapter
from hermes_stream.server.app import make_app
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import Identity, LiveSession
from hermes_stream.server.settings import ServerSettings

from .observed import held_up, observed
from .running import running


def test_a_server_that_runs_is_healthy_and_ready(engine: Engine) -> None:
    with observed(engine) as server:
        assert server.client.get("/health").json()["engines"] == {engine.model.name: "answers"}
        assert server.client.get("/ready").json() == {"status": "ready", "sessions": 0}


def test_an_engine_with_work_to_do_is_healthy_and_says_so_within_a_moment(engine: Engine) -> None:
    """A large model's forward on a CPU takes seconds; to restart the server for that would lose them."""
    with observed(engine) as server, held_up(server.open()):
        began = time.monotonic()
        response = server.client.get("/health")
        assert time.monotonic() - began < 2
        assert (response.status_code, set(response.json()["engines"].values())) == (200, {"busy"})


def test_an_engine_that_does_not_come_back_is_not_healthy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermes_stream.server.observe.pulse._STUCK_SECONDS", 0.5)
    with observed(engine) as server:
        with held_up(server.open()):
            response = server.client.get("/health")
            assert (response.status_code, response.json()["error"]["code"]) == (503, "not_healthy")
        assert server.client.get("/health").status_code == 200


def test_an_engine_that_has_ended_is_not_healthy(llava_folder: Path) -> None:
    with Engine(load_adapter(str(llava_folder))) as engine, observed(engine) as server:
        engine.close()
        assert server.client.get("/health").status_code == 503


def test_a_server_is_not_ready_before_its_sessions_are_back(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with observed(engine, state_dir=tmp_path) as server:
        name = server.open().name
    may_go_on, restored = threading.Event(), Hub._restored

    def slowly(hub: Hub, identity: Identity, bus: object) -> LiveSession:
        may_go_on.wait(30)
        return restored(hub, identity, bus)  # type: ignore[arg-type]

    monkeypatch.setattr(Hub, "_restored", slowly)
    app = make_app(ServerSettings(state_dir=tmp_path), {engine.model.name: engine})
    with running(app, "on") as place, httpx2.Client(base_url=f"http://{place}") as client:
        statuses = [client.get(path).status_code for path in ("/health", "/ready", f"/v1/sessions/{name}")]
        refusal = client.get("/ready")
        may_go_on.set()
        while client.get("/ready").status_code != 200:
            time.sleep(0.01)
        assert statuses == [200, 503, 503]
        assert (refusal.json()["error"]["code"], "retry-after" in refusal.headers) == ("not_ready", True)
        assert client.get(f"/v1/sessions/{name}").json()["id"] == name


def test_one_session_that_cannot_be_read_does_not_keep_the_others(engine: Engine, tmp_path: Path) -> None:
    with observed(engine, state_dir=tmp_path) as server:
        broken, whole = server.open().name, server.open().name
        server.client.post(f"/v1/sessions/{broken}/snapshot").raise_for_status()
    for file in (tmp_path / "sessions" / broken).glob("*/*"):
        file.write_bytes(b"something else")
    with observed(engine, state_dir=tmp_path) as server:
        assert [row["id"] for row in server.client.get("/v1/sessions").json()["data"]] == [whole]


def test_an_idle_session_is_not_brought_back_before_it_is_saved(engine: Engine, tmp_path: Path) -> None:
    """While its last state is still being written there is an older one on the disk."""
    with observed(engine, state_dir=tmp_path, limits={"idle_seconds": 1000}) as server:
        live, hub = server.open(), server.app.state.server.hub
        live.used_at -= 2000
        order: list[str] = []
        save = hub.keeper.save

        async def slow_save(saved: LiveSession) -> object:
            await asyncio.sleep(0.3)
            order.append("saved")
            return await save(saved)

        hub.keeper.save = slow_save
        while live.session.is_closed is False and not order and live in hub.sessions():
            time.sleep(0.01)
        assert server.client.get(f"/v1/sessions/{live.name}").json()["id"] == live.name
        assert order
        hub.keeper.save = save


def test_an_idle_session_that_cannot_be_saved_stays(engine: Engine, tmp_path: Path) -> None:
    with observed(engine, state_dir=tmp_path, limits={"idle_seconds": 1000}) as server:
        live = server.open()
        (tmp_path / "sessions" / live.name).write_text("in the way")
        live.used_at -= 2000
        while server.scrape()("checkpoint_failures_total") < 1:
            time.sleep(0.01)
        assert server.client.get(f"/v1/sessions/{live.name}").status_code == 200
        assert not live.session.is_closed
        (tmp_path / "sessions" / live.name).unlink()


def test_sessions_are_saved_again_after_something_went_wrong(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    close_idle = Hub.close_idle

    async def failing_once(hub: Hub) -> None:
        calls.append("")
        if len(calls) == 1:
            raise RuntimeError("a bug")
        await close_idle(hub)

    monkeypatch.setattr(Hub, "close_idle", failing_once)
    with observed(engine, state_dir=tmp_path, save_seconds=0.1) as server:
        live = server.open()
        while not server.app.state.server.hub.keeper.folder.saved(live.name):
            time.sleep(0.01)
        assert len(calls) > 1
