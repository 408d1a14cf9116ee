"""What moves with a session, what is refused, and what a server does that cannot reach the store any more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hermes_stream import Engine
from hermes_stream.errors import LeaseLost, SnapshotError
from hermes_stream.server.alerts.alert import AlertRequest, Webhook
from hermes_stream.server.alerts.webhooks import Delivery
from hermes_stream.server.app import make_app
from hermes_stream.server.bus import Event
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import ServerSettings
from hermes_stream.types import Query

from .members import Member, frames, member, until

_NOBODY = "http://203.0.113.1/hook"


def asked(live: LiveSession) -> tuple[str, int]:
    answer = live.session.ask(Query("What is there?", max_new_tokens=8)).result()
    return answer.text, answer.frames_seen


def heard(live: LiveSession) -> asyncio.Task[list[Event]]:
    """What is told in a session from now on, to its end."""

    async def listen() -> list[Event]:
        with live.bus.listen() as listener:
            return [event async for event in listener]

    return asyncio.create_task(listen())


async def code_of(work: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await work
    return caught.value.code


def test_memory_journal_dialogues_standing_questions_and_deliveries_move_together(
    engine: Engine, tmp_path: Path
) -> None:
    async def scene(one: Member, two: Member) -> None:
        live = await one.open("door")
        await asyncio.to_thread(live.watch, frames(0, 6))
        live.log("answer", 3.0, {"answer": "grey"})
        one.hub.journal.put("dialogue", "door/d", "door", {"turns": [{"question": "q", "answer": "a", "time_s": 3.0}]})
        alert = await one.alerts.add(live, AlertRequest(question="Is it grey?", webhook=Webhook(url=_NOBODY)))
        one.alerts.webhooks.add(Delivery("door", alert.name, 1, 2.0, "{}"))
        other = await one.open("other")
        before, events = await asyncio.to_thread(asked, live), heard(live)
        await asyncio.sleep(0)

        moved = await two.find_routed("door", "me")
        assert moved.session.stats.frames_seen == 6
        assert await asyncio.to_thread(asked, moved) == before
        entries = two.hub.journal.entries("door")
        assert [entry.kind for entry in entries] == ["answer", "arrived"]
        assert entries[0].data == {"answer": "grey"}
        assert entries[1].data["from"] == "one"
        assert list(two.hub.journal.records("dialogue", "door")) == ["door/d"]
        assert [each.name for each in two.alerts.of(moved)] == [alert.name]
        assert two.alerts.webhooks.to_json(alert.name)["n_waiting"] == 1
        assert [event.data["is_resumable"] for event in await events if event.kind == "moved"] == [True]

        # The first server has nothing of it left, and keeps the rest.
        assert one.hub.sessions() == [other]
        assert one.hub.journal.export("door") == {"entries": [], "records": []}
        assert one.alerts.webhooks.to_json(alert.name)["n_waiting"] == 0
        assert await code_of(one.hub.find("door")) == "session_elsewhere"

    async def play() -> None:
        async with member(engine, tmp_path, "one") as one, member(engine, tmp_path, "two") as two:
            await scene(one, two)

    asyncio.run(play())


def test_of_two_that_ask_at_once_one_owner_comes_out_and_nothing_is_lost(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        async with member(engine, tmp_path, "one") as one, member(engine, tmp_path, "two") as two:
            live = await one.open("s")
            await asyncio.to_thread(live.watch, frames(0, 4))
            await one.fleet.let_go(live, "test")
            found = await asyncio.gather(one.hub.find("s", None), two.hub.find("s", None), return_exceptions=True)
            refused = [each for each in found if isinstance(each, ApiError)]
            assert [error.code for error in refused] == ["session_elsewhere"]
            assert len(one.hub.sessions()) + len(two.hub.sessions()) == 1
            [owner] = [each for each in found if isinstance(each, LiveSession)]
            assert owner.session.stats.frames_seen == 4

    asyncio.run(play())


def test_what_is_not_ones_own_or_too_much_does_not_move(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            member(engine, tmp_path, "one") as one,
            member(engine, tmp_path, "two", max_sessions_per_key=1) as two,
        ):
            await one.open("s", owner="me")
            assert await code_of(two.find_routed("s", "somebody else")) == "not_found"
            assert await code_of(two.open("s", owner="somebody else")) == "session_exists"
            await two.open("t", owner="me")
            assert await code_of(two.find_routed("s", "me")) == "too_many_sessions"
            assert [live.name for live in one.hub.sessions()] == ["s"]
            # A session that could not be opened leaves its name free.
            one.hub.before_open.append(refusing)
            with pytest.raises(ValueError, match="no"):
                await one.open("u", owner="you")
            one.hub.before_open.clear()
            assert (await one.open("u", owner="you")).name == "u"

    async def refusing(_: object) -> None:
        raise ValueError("no")

    asyncio.run(play())


def test_a_server_that_cannot_reach_the_store_lets_go_before_another_one_takes_over(
    engine: Engine, tmp_path: Path
) -> None:
    async def play() -> None:
        async with (
            member(engine, tmp_path, "one", ttl_seconds=2.0) as one,
            member(engine, tmp_path, "two", ttl_seconds=2.0) as two,
        ):
            live = await one.open("s")
            await asyncio.to_thread(live.watch, frames(0, 4))
            await one.hub.save_all()
            await asyncio.to_thread(live.watch, frames(4, 6))
            events = heard(live)
            await asyncio.sleep(0)
            one.line.is_cut = True
            taking = asyncio.create_task(two.find_routed("s"))
            await until(lambda: not one.is_sure and not one.hub.sessions())
            assert not taking.done()
            assert await code_of(one.hub.find("s")) == "not_ready"
            assert await code_of(one.open()) == "not_ready"
            taken = await taking
            assert taken.session.stats.frames_seen == 4
            [moved] = [event.data for event in await events if event.kind == "moved"]
            assert "goes on at another" in moved["reason"]
            one.line.is_cut = False
            await until(lambda: one.is_sure)
            assert await code_of(one.hub.find("s")) == "session_elsewhere"
            [entry] = two.hub.journal.entries("s", kinds=["arrived"])
            assert "lost" in entry.data["reason"]
            assert (entry.time_seconds, entry.data["known_until_s"]) == (3.0, 3.0)

    asyncio.run(play())


def test_an_owner_that_does_not_know_that_it_was_succeeded_finds_out_when_it_saves(
    engine: Engine, tmp_path: Path
) -> None:
    async def play() -> None:
        async with member(engine, tmp_path, "one", ttl_seconds=30.0) as one, member(engine, tmp_path, "two") as two:
            live = await one.open("s")
            await asyncio.to_thread(live.watch, frames(0, 4))
            await one.hub.save_all()
            # Somebody judged it dead, wrongly.
            claim = two.place.leases.newest("s")
            fence = two.place.leases.take("s", claim, 1)
            assert fence is not None
            two.place.leases.settle("s", fence)
            await asyncio.to_thread(live.watch, frames(4, 8))
            with pytest.raises(LeaseLost):
                await one.hub.keeper.save(live)
            await until(lambda: one.hub.sessions() == [])
            assert [commit.time_seconds for commit in two.place.leases.commits("s")] == [3.0]

    asyncio.run(play())


def test_a_session_that_cannot_be_saved_is_not_handed_over(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        async with member(engine, tmp_path, "one") as one:
            live = await one.open("s")
            one.line.is_cut = True
            await one.fleet.let_go(live, "test")
            assert one.hub.sessions() == [live]
            one.line.is_cut = False
            await one.fleet.let_go(live, "test")
            assert one.hub.sessions() == []

    asyncio.run(play())


def test_under_a_key_the_store_shows_nothing_and_another_key_is_refused(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        async with member(engine, tmp_path, "one", key=b"k" * 32) as one:
            live = await one.open("s", owner="secret-owner")
            await asyncio.to_thread(live.watch, frames(0, 4))
            live.log("answer", 3.0, {"answer": "secret-answer"})
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) > 5
        assert not [data for data in files if b"secret" in data]
        async with member(engine, tmp_path, "two", key=b"x" * 32) as two:
            with pytest.raises(SnapshotError, match="another key"):
                await two.hub.find("s")

    asyncio.run(play())


def test_a_session_that_is_deleted_leaves_nothing_and_its_name_is_free(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        async with member(engine, tmp_path, "one") as one, member(engine, tmp_path, "two") as two:
            live = await one.open("s")
            await asyncio.to_thread(live.watch, frames(0, 4))
            await one.hub.save_all()
            old = two.place.leases.newest("s")
            await one.hub.close(live)
            assert not (tmp_path / "sessions" / "s").exists()
            again = await two.open("s")
            assert again.session.stats.frames_seen == 0
            new = two.place.leases.newest("s")
            assert old is not None
            assert new is not None
            assert new.fence > old.fence

    asyncio.run(play())


def test_checkpoints_are_thinned_and_what_others_left_unfinished_goes(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        folder = tmp_path / "sessions" / "s" / "checkpoints"
        async with member(engine, tmp_path, "one") as one, member(engine, tmp_path, "two") as two:
            live = await one.open("s")
            for second in range(6):
                await asyncio.to_thread(live.watch, frames(second, second + 1))
                await one.hub.save_all()
            (folder / "0000000000000001-00000001-7.000").mkdir(parents=True)
            (folder / "not ours").mkdir()
            live = await two.find_routed("s")
            await asyncio.to_thread(live.watch, frames(6, 7))
            await two.hub.save_all()
            names = sorted(path.name for path in folder.iterdir())
            stems = [name for name in names if not name.endswith(".commit")]
            assert [name.rpartition("-")[2] for name in stems] == ["0.000", stems[1].rpartition("-")[2], "6.000"]
            assert [name for name in names if name.endswith(".commit")] == [f"{stem}.commit" for stem in stems]
            assert [saved.number for saved in two.place.checkpoints.saved("s")][-1] == 7

    asyncio.run(play())


def test_a_name_is_no_way_out_of_the_store(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        async with member(engine, tmp_path / "shared", "one") as one:
            await one.open("s")
            for path in ("", "..", "../sessions/s", "s/", "./s", "s/../s", "s\0"):
                assert await code_of(one.find_routed(path.encode("ascii", "replace").decode())) == "not_found"

    asyncio.run(play())


@pytest.mark.parametrize(
    ("name", "status"), [("a-Z_9", 201), ("x" * 64, 201), ("x" * 65, 400), ("a/b", 400), ("..", 400)]
)
def test_only_plain_names_are_taken_for_sessions(engine: Engine, tmp_path: Path, name: str, status: int) -> None:
    app = make_app(ServerSettings(shared=str(tmp_path)), {"model": engine})
    with TestClient(app, "http://127.0.0.1") as client:
        while client.get("/ready").status_code != 200:
            pass
        answer = client.post("/v1/sessions", json={}, headers={"x-session-id": name})
        assert answer.status_code == status
        if status == 201:
            assert answer.json()["id"] == name


def test_without_a_shared_store_the_header_means_nothing(engine: Engine) -> None:
    with TestClient(make_app(ServerSettings(), {"model": engine}), "http://127.0.0.1") as client:
        while client.get("/ready").status_code != 200:
            pass
        assert client.post("/v1/sessions", json={}, headers={"x-session-id": "a"}).json()["id"] != "a"


def test_a_state_folder_and_a_shared_store_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in one place"):
        ServerSettings(state_dir=tmp_path, shared=str(tmp_path))


def test_every_session_has_one_heir_and_not_always_the_same(engine: Engine, tmp_path: Path) -> None:
    async def play() -> None:
        async with member(engine, tmp_path, "one") as one, member(engine, tmp_path, "two") as two:
            await until(lambda: len(one.place.heartbeats.alive()) == 2)
            heirs = [(one.patrol._is_heir(f"s{i}"), two.patrol._is_heir(f"s{i}")) for i in range(32)]
            assert set(heirs) == {(True, False), (False, True)}

    asyncio.run(play())
