"""Events reach who listens, from any thread; who is slow misses some and is told."""

from __future__ import annotations

import asyncio
import threading

from hermes_stream.server.bus import Bus, Event


def test_events_of_another_thread_arrive_in_order() -> None:
    async def go() -> list[Event]:
        bus = Bus(asyncio.get_running_loop())
        with bus.listen() as listener:
            threading.Thread(target=lambda: [bus.publish("n", {"i": i}) for i in range(50)]).start()
            return [event async for _, event in _first(listener, 50)]

    assert [event.data["i"] for event in asyncio.run(go())] == list(range(50))


def test_a_slow_listener_misses_the_oldest_and_is_told_how_many() -> None:
    async def go() -> list[Event]:
        bus = Bus(asyncio.get_running_loop())
        with bus.listen() as listener:
            for i in range(300):
                bus.publish("n", {"i": i})
            await asyncio.sleep(0.01)
            bus.close()
            return [event async for event in listener]

    events = asyncio.run(go())
    assert events[0] == Event("missed", {"n": 44})
    assert [event.data["i"] for event in events[1:]] == list(range(44, 300))


def test_closing_ends_those_who_wait() -> None:
    async def go() -> list[Event]:
        bus = Bus(asyncio.get_running_loop())

        async def listen() -> list[Event]:
            with bus.listen() as listener:
                return [event async for event in listener]

        waiting = asyncio.create_task(listen())
        await asyncio.sleep(0.01)
        bus.close()
        return await asyncio.wait_for(waiting, 1)

    assert asyncio.run(go()) == []


def test_a_bus_whose_loop_is_gone_swallows_what_it_is_told() -> None:
    async def make() -> Bus:
        return Bus(asyncio.get_running_loop())

    asyncio.run(make()).publish("n")


async def _first(listener, n):  # type: ignore[no-untyped-def]
    count = 0
    async for event in listener:
        yield count, event
        count += 1
        if count == n:
            return
