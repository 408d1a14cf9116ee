"""Whoever waits gets what comes: threads, tasks of event loops, and both at once, without a thread per question."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from hermes_stream import Engine, KeepAll, Query, Session
from hermes_stream.engine.pending import Channel, Delivery, Pending
from hermes_stream.errors import LimitError, SessionClosed
from tests.engine.direct import assert_same_bits, memory_bits
from tests.engine.pausing import paused
from tests.tiny import make_frames

PATIENCE_SECONDS = 60
N_EVENTS = 3000


@pytest.fixture
def session(engine: Engine) -> Session:
    session = engine.open(KeepAll())
    session.watch(make_frames(3))
    return session


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def take_all(delivery: Delivery[int, str]) -> list[int]:
    taken = []
    while (event := await delivery.atake()) is not None:
        taken.append(event)
    return taken


def test_each_event_goes_to_one_taker_and_the_end_to_all() -> None:
    """Two threads, and two event loops with two tasks each."""
    delivery: Delivery[int, str] = Delivery()
    taken: list[list[int]] = []

    def in_a_thread() -> None:
        taken.append(list(iter(delivery.take, None)))  # type: ignore[arg-type]

    def in_a_loop() -> None:
        async def both() -> None:
            taken.extend(await asyncio.gather(take_all(delivery), take_all(delivery)))

        asyncio.run(both())

    threads = [threading.Thread(target=target) for target in (in_a_thread, in_a_loop) * 2]
    for thread in threads:
        thread.start()
    for event in range(1, N_EVENTS):
        delivery.put(event)
        if event % 100 == 0:
            time.sleep(0.001)
    delivery.end("over")
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert len(taken) == 6
    assert sorted(event for each in taken for event in each) == list(range(1, N_EVENTS))
    assert all(each == sorted(each) for each in taken)
    assert delivery.outcome == "over"


def test_a_loop_that_was_closed_breaks_nothing() -> None:
    delivery: Delivery[int, str] = Delivery()
    loop = asyncio.new_event_loop()
    task = loop.create_task(take_all(delivery))
    loop.run_until_complete(asyncio.wait([task], timeout=0.01))
    loop.close()
    delivery.put(5)
    delivery.end("over")
    assert (delivery.take(), delivery.take()) == (5, None)
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_taker_that_gives_up_takes_nothing_with_it() -> None:
    async def main() -> None:
        delivery: Delivery[int, str] = Delivery()
        for event in range(20):
            leaving = asyncio.create_task(delivery.atake())
            staying = asyncio.create_task(delivery.atake())
            await asyncio.sleep(0)
            delivery.put(event)
            leaving.cancel()
            assert await staying == event

    asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))


def test_an_event_loop_gets_what_a_thread_gets(session: Session) -> None:
    expected = session.ask("Which colour?", max_new_tokens=12)
    events, answer = list(expected), expected.result()

    async def main() -> None:
        stream = session.ask("Which colour?", max_new_tokens=12)
        found = [event async for event in stream]
        assert [(event.token_id, event.text) for event in found] == [(e.token_id, e.text) for e in events]
        assert (await stream.aresult()).token_ids == answer.token_ids
        assert (await session.ask("Which colour?", max_new_tokens=12).aresult()).text == answer.text
        scores = await session.score("Which colour?").aresult()
        assert scores.probabilities == session.score("Which colour?").result().probabilities

    asyncio.run(main())


def test_many_questions_of_one_loop_take_no_thread_and_do_not_block_it(session: Session) -> None:
    n_ticks = 0

    async def tick() -> None:
        nonlocal n_ticks
        while True:
            n_ticks += 1
            await asyncio.sleep(0.001)

    async def main() -> list[Any]:
        ticking = asyncio.create_task(tick())
        n_threads = threading.active_count()
        asked = [session.ask("Which colour?", max_new_tokens=6).aresult() for _ in range(10)]
        asked += [session.score("Which colour?").aresult() for _ in range(10)]
        results = await asyncio.gather(*asked)
        assert threading.active_count() == n_threads
        ticking.cancel()
        return results

    results = asyncio.run(main())
    assert len({answer.token_ids for answer in results[:10]}) == 1
    assert len(results) == 20
    assert n_ticks > 3


@pytest.mark.parametrize("waits", ["aresult", "iteration", "score"])
def test_cancelling_a_task_cancels_what_it_waits_for(session: Session, waits: str) -> None:
    before = memory_bits(session.stream)
    answering = session._engine._worker._answering

    async def wait() -> None:
        if waits == "score":
            await session.score("Which colour?").aresult()
        elif waits == "aresult":
            await session.ask("Which colour?", max_new_tokens=400).aresult()
        else:
            async for _ in session.ask("Which colour?", max_new_tokens=400):
                pass

    async def main() -> None:
        task = asyncio.create_task(wait())
        if waits == "score":
            with paused(session._engine):
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        else:
            while not len(answering):
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    until(lambda: not answering)
    assert_same_bits(before, memory_bits(session.stream))
    assert session.ask("Which colour?", max_new_tokens=2).result().token_ids


def test_what_went_wrong_is_raised_in_the_loop(session: Session) -> None:
    async def main() -> None:
        with pytest.raises(LimitError, match="ask a shorter one"):
            await session.ask("word " * 2000).aresult()
        broken_off = session.ask("Which colour?", max_new_tokens=400)
        assert await anext(broken_off)
        session.close()
        with pytest.raises(SessionClosed):
            async for _ in broken_off:
                pass
        with pytest.raises(SessionClosed):
            await broken_off.aresult()

    asyncio.run(main())


def test_a_cancelled_answer_ends_without_an_error(session: Session) -> None:
    async def main() -> None:
        with session.ask("Which colour?", max_new_tokens=400) as answer:
            assert await anext(answer)
        async for _ in answer:
            pass
        with pytest.raises(SessionClosed, match="cancelled"):
            await answer.aresult()

    asyncio.run(main())


def test_a_thread_and_a_loop_share_one_answer(session: Session) -> None:
    answer = session.ask("Which colour?", max_new_tokens=30)
    mine: list[int] = []
    thread = threading.Thread(target=lambda: mine.extend(event.token_id for event in answer))
    thread.start()

    async def main() -> list[int]:
        return [event.token_id async for event in answer]

    theirs = asyncio.run(main())
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert sorted(mine + theirs) == sorted(answer.result().token_ids)


def test_an_end_without_a_result_is_never_taken_for_one() -> None:
    pending: Pending[int, str] = Pending(Query("x"))
    Channel(pending).end(SessionClosed("gone"))
    for _ in range(2):
        with pytest.raises(SessionClosed, match="gone"):
            pending.result()
