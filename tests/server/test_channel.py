"""One WebSocket: events in order, a client that does not take them, what ends a connection."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from hermes_stream.server.push import channel as channel_module
from hermes_stream.server.push.channel import Channel, Close, protocol_to_accept


class FakeSocket:
    """Takes what it is sent as long as it reads; says what it is told to say."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {"subprotocols": ["v1"]}
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.protocol: str | None = None

    async def accept(self, subprotocol: str | None) -> None:
        self.protocol = subprotocol

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.sent.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        await self.reads.wait()
        self.closed = code, reason


async def nothing() -> None:
    """For who has nothing to give back."""


def test_events_arrive_in_order_and_before_the_connection_ends() -> None:
    async def run() -> FakeSocket:
        socket = FakeSocket()
        channel = Channel(socket)  # type: ignore[arg-type]

        async def hear(message: dict[str, Any]) -> None:
            for index in range(500):
                channel.put({"index": index})
            channel.stop(Close(1000, "done"))

        await socket.incoming.put({"type": "websocket.receive", "text": "go"})
        await channel.serve(hear, nothing)
        return socket

    socket = asyncio.run(run())
    assert [event["index"] for event in socket.sent] == list(range(500))
    assert socket.closed == (1000, "done")
    assert socket.protocol == "v1"


def test_a_client_that_leaves_ends_what_was_going_on_for_it() -> None:
    async def run() -> list[str]:
        socket, happened = FakeSocket(), []
        channel = Channel(socket)  # type: ignore[arg-type]

        async def work() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                happened.append("work ended")

        async def leave() -> None:
            happened.append("left")

        async def hear(message: dict[str, Any]) -> None:
            channel.spawn(work())
            await asyncio.sleep(0)

        await socket.incoming.put({"type": "websocket.receive", "text": "go"})
        await socket.incoming.put({"type": "websocket.disconnect"})
        await channel.serve(hear, leave)
        assert socket.closed is None
        return happened

    assert asyncio.run(run()) == ["work ended", "left"]


@pytest.mark.parametrize("how", ["too many events", "too long"])
def test_a_client_that_does_not_read_is_closed_after_what_it_held_is_free(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_SEND_SECONDS", 0.05 if how == "too long" else 60.0)

    async def run() -> FakeSocket:
        socket = FakeSocket()
        channel = Channel(socket)  # type: ignore[arg-type]
        socket.reads.clear()

        async def hear(message: dict[str, Any]) -> None:
            for index in range(3000 if how == "too many events" else 1):
                channel.put({"index": index})

        async def leave() -> None:
            assert socket.closed is None
            socket.reads.set()

        await socket.incoming.put({"type": "websocket.receive", "text": "go"})
        async with asyncio.timeout(10):
            await channel.serve(hear, leave)
        return socket

    assert asyncio.run(run()).closed == (4408, "you do not read what you are sent")


def test_a_client_that_is_gone_before_it_was_told_to_go_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(FakeSocket):
        async def send_text(self, text: str) -> None:
            raise WebSocketDisconnect(1006)

        async def close(self, code: int, reason: str) -> None:
            raise WebSocketDisconnect(1006)

    async def run() -> None:
        channel = Channel(Gone())  # type: ignore[arg-type]
        channel.put({"type": "session.done"})
        channel.stop(Close(1000))
        await channel.serve(lambda message: nothing(), nothing)

    asyncio.run(run())
    assert not caplog.records


def test_a_failure_ends_the_connection_and_says_no_more_than_that(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> FakeSocket:
        socket = FakeSocket()

        async def hear(message: dict[str, Any]) -> None:
            raise RuntimeError("boom")

        await socket.incoming.put({"type": "websocket.receive", "text": "go"})
        await Channel(socket).serve(hear, nothing)  # type: ignore[arg-type]
        return socket

    assert asyncio.run(run()).closed == (1011, "something went wrong on the server; its log says what")
    assert "boom" in caplog.text


def test_a_long_reason_is_cut_to_what_a_close_frame_holds() -> None:
    async def run() -> FakeSocket:
        socket = FakeSocket()
        channel = Channel(socket)  # type: ignore[arg-type]
        channel.stop(Close(4410, "é" * 200))
        await channel.serve(lambda message: nothing(), nothing)
        return socket

    socket = asyncio.run(run())
    assert socket.closed is not None
    assert socket.closed[1] == "é" * 60


@pytest.mark.parametrize(
    ("offered", "taken"),
    [([], None), (["a", "b"], "a"), (["a", "realtime"], "realtime"), (["openai-insecure-api-key.k"], None)],
)
def test_no_key_is_sent_back_as_a_sub_protocol(offered: list[str], taken: str | None) -> None:
    assert protocol_to_accept(offered) == taken


def test_a_client_that_is_gone_is_not_waited_for() -> None:
    """So it is with all clients when the server ends: they are told so below us, and events are still to be sent."""

    class Gone(FakeSocket):
        async def send_text(self, text: str) -> None:
            raise WebSocketDisconnect(1006)

        async def close(self, code: int, reason: str) -> None:
            raise WebSocketDisconnect(1006)

    async def run() -> float:
        channel = Channel(Gone())  # type: ignore[arg-type]
        for index in range(3):
            channel.put({"index": index})
        channel.stop(Close(1001, "the server ends"))
        began = asyncio.get_running_loop().time()
        await channel.serve(lambda _: nothing(), nothing)
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(run()) < 1
