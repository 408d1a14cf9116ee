"""What the server does not watch, and how it ends what it watches."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_stream import Engine
from hermes_stream.errors import SourceError
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.pull import puller as pull

from .pulling import HERE, Camera, make_films
from .stage import stage, until
from .web_servers import WebServer, web_server


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def server(films: Path) -> Iterator[WebServer]:
    with web_server(films) as server:
        yield server


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("none.mp4", "no such file"),
        ("/etc/passwd", "outside of the folders"),
        ("http://127.0.0.1:1/x", r"127\.0\.0\.1 is not at a public address"),
        ("rtsp://169.254.169.254/x", r"169\.254\.169\.254 is not at a public address"),
        ("https://localhost/x", "localhost is not at a public address"),
        ("lavfi:testsrc", "lavfi: is nothing that this server opens"),
    ],
)
def test_what_could_never_be_watched_opens_no_session(engine: Engine, films: Path, source: str, line: str) -> None:
    async def watch() -> None:
        async with stage(engine, allow_local_files=(films,)) as at:
            with pytest.raises(SourceError, match=line):
                await at.open(source)
            assert at.hub.sessions() == []

    asyncio.run(watch())


def test_a_name_that_leads_elsewhere_a_moment_later_is_not_followed(engine: Engine, server: WebServer) -> None:
    answers = iter([["127.0.0.1"]])
    resolved: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        resolved.append(host)
        return next(answers, ["127.0.0.2"])

    source = server.address.replace("127.0.0.1", "changing.example") + "/a.mp4"

    async def watch() -> None:
        async with stage(engine, sources={"resolve": resolve}, **HERE) as at:
            live = await at.open(source)
            await until(lambda: "next try" in live.reason)
            assert live.reason.startswith("changing.example is not at a public address")

    asyncio.run(watch())
    assert len(resolved) == 2
    assert server.asked == []


def test_a_redirect_to_a_forbidden_address_is_not_followed(engine: Engine, films: Path, server: WebServer) -> None:
    async def watch(to: str) -> str:
        server.answers["/go"] = lambda handler: handler.redirect(to)
        async with stage(engine, **HERE) as at:
            live = await at.open(server.address + "/go")
            await until(lambda: "next try" in live.reason)
            return live.reason

    with web_server(films, "127.0.0.2") as other:
        reason = asyncio.run(watch(other.address + "/a.mp4"))
        assert reason.startswith("127.0.0.2 is not at a public address")
        assert other.asked == []
    assert asyncio.run(watch("http://169.254.169.254/latest")).startswith("169.254.169.254 is not at a public")


@pytest.mark.parametrize("named", ["http://127.0.0.2:{port}/a.ts", "file:///etc/passwd", "{folder}/a.ts"])
def test_a_playlist_shows_nothing_that_its_server_may_not_name(
    engine: Engine, films: Path, server: WebServer, tmp_path: Path, named: str
) -> None:
    async def watch(text: str) -> LiveSession:
        server.answers["/list.m3u8"] = lambda handler: handler.say(text)
        async with stage(engine, allow_local_files=(films,), **HERE) as at:
            live = await at.open(server.address + "/list.m3u8", speed=0)
            await until(lambda: "next try" in live.reason)
            assert live.session.stats.frames_seen == 0
            return live

    with web_server(films, "127.0.0.2") as other:
        segment = named.format(port=other.address.rpartition(":")[2], folder=films)
        asyncio.run(watch(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{segment}\n#EXT-X-ENDLIST\n"))
        assert other.asked == []


def pull_threads() -> list[str]:
    names = ("hermes-pull", "hermes-prefetch", "hermes-rtsp")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(names)]


def test_a_silent_source_holds_up_no_end(engine: Engine, server: WebServer) -> None:
    """One that never says anything, one that has fallen silent, a camera, and one that waits for its next try."""
    server.answers["/mute"] = lambda handler: time.sleep(10)

    async def watch(camera: Camera, peer: str) -> float:
        async with stage(engine, **HERE) as at:
            sources = (server.address + "/mute", camera.url, peer, server.address + "/none")
            lives = [await at.open(source) for source in sources]
            await until(lambda: lives[1].state == "live" and "next try" in lives[3].reason)
            started = time.monotonic()
        return time.monotonic() - started

    camera = Camera(server, (server.folder / "a.ts").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as peer:
        seconds = asyncio.run(watch(camera, f"rtsp://127.0.0.1:{peer.getsockname()[1]}/x"))
    assert seconds < 4
    assert pull_threads() == []


def test_a_source_that_does_not_let_go_is_left_behind(
    engine: Engine, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_JOIN_SECONDS", 0.3)
    is_over, waiting = threading.Event(), []

    def resolve(host: str, port: int) -> list[str]:
        name = threading.current_thread().name
        if name.startswith("hermes-pull"):
            waiting.append(name)
            is_over.wait(20)
        return ["127.0.0.1"]

    async def watch() -> float:
        async with stage(engine, sources={"resolve": resolve}, **HERE) as at:
            for _ in range(3):
                await at.open(server.address.replace("127.0.0.1", "slow.example") + "/a.mp4")
            await until(lambda: len(waiting) == 3)
            started = time.monotonic()
        return time.monotonic() - started

    # All of them are told at once, so that they are waited for together.
    assert asyncio.run(watch()) < 2
    assert pull_threads() != []
    is_over.set()
    asyncio.run(until(lambda: pull_threads() == []))
    assert server.asked == []


def test_a_deleted_session_leaves_no_thread_and_no_record(engine: Engine, server: WebServer) -> None:
    camera = Camera(server, (server.folder / "a.ts").read_bytes())

    async def watch() -> None:
        async with stage(engine, **HERE) as at:
            live = await at.open(camera.url)
            await until(lambda: live.state == "live")
            await at.hub.close(live)
            assert pull_threads() == []
            assert live.journal.records("pull") == {}
            assert live.journal.entries(live.name) == []

    asyncio.run(watch())


def test_a_silent_live_source_is_a_gap(engine: Engine, server: WebServer) -> None:
    camera = Camera(server, (server.folder / "a.ts").read_bytes())

    async def watch() -> None:
        async with stage(engine, sources={"timeout_seconds": 0.5}, **HERE) as at:
            live = await at.open(camera.url)
            await until(lambda: live.state == "live")
            await until(lambda: live.state == "gap")
            assert live.reason.startswith("nothing arrived for 0.5 s")

    asyncio.run(watch())
