"""Work for clients that may go: it ends with them, and cleans up."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator

import pytest

from hermes_stream.server.following import Followed, on_own_thread, unless_gone
from hermes_stream.server.problems import ApiError


class Work:
    """Gives numbers, as fast as `is_quick`; remembers whether it could clean up."""

    def __init__(self, n: int, error: Exception | None = None, *, is_endless: bool = False) -> None:
        self._n, self._error, self._is_endless = n, error, is_endless
        self.is_clean = False

    async def items(self) -> AsyncIterator[int]:
        try:
            for number in range(self._n):
                yield number
            if self._is_endless:
                await asyncio.Event().wait()
            if self._error is not None:
                raise self._error
        finally:
            # Cleaning up takes time.
            await asyncio.sleep(0.01)
            self.is_clean = True


def test_items_come_in_their_order_and_end() -> None:
    async def run() -> list[int]:
        return [number async for number in Followed(Work(5).items())]

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_an_error_comes_after_the_items_before_it_each_time() -> None:
    async def run() -> None:
        followed = Followed(Work(1, KeyError("lost")).items())
        assert await anext(followed) == 0
        for _ in range(2):
            with pytest.raises(KeyError, match="lost"):
                await anext(followed)

    asyncio.run(run())


def test_cancelled_work_cleans_up_and_has_no_more_items() -> None:
    async def run() -> None:
        work = Work(1, is_endless=True)
        followed = Followed(work.items())
        assert await anext(followed) == 0
        followed.cancel()
        assert [number async for number in followed] == []
        assert work.is_clean

    asyncio.run(run())


def test_work_that_is_cancelled_before_it_began_has_no_items() -> None:
    async def run() -> list[int]:
        followed = Followed(Work(3).items())
        followed.cancel()
        return [number async for number in followed]

    assert asyncio.run(asyncio.wait_for(run(), 5)) == []


def test_a_cancelled_reader_does_not_keep_the_work_from_cleaning_up() -> None:
    async def read(followed: Followed[int]) -> None:
        try:
            async for _ in followed:
                pass
        finally:
            followed.cancel()

    async def run() -> None:
        work = Work(1, is_endless=True)
        reader = asyncio.create_task(read(Followed(work.items())))
        await asyncio.sleep(0.01)
        reader.cancel()
        await asyncio.sleep(0.05)
        assert reader.cancelled()
        assert work.is_clean

    asyncio.run(run())


def test_dropped_work_ends() -> None:
    async def run() -> None:
        work = Work(1, is_endless=True)
        followed = Followed(work.items())
        assert await anext(followed) == 0
        del followed
        gc.collect()
        await asyncio.sleep(0.05)
        assert work.is_clean

    asyncio.run(run())


class Client:
    """As much of a request as is looked at: it goes when it is told to."""

    def __init__(self) -> None:
        self.goes = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.goes.wait()
        return {"type": "http.disconnect"}


def test_a_client_that_stays_gets_the_result() -> None:
    async def run() -> int:
        return await unless_gone(Client(), asyncio.sleep(0.01, 7))  # type: ignore[arg-type]

    assert asyncio.run(run()) == 7


def test_work_for_a_client_that_goes_is_cancelled_and_cleans_up() -> None:
    async def run() -> None:
        client, work = Client(), Work(0, is_endless=True)

        async def last() -> int:
            return [number async for number in work.items()][-1]

        asyncio.get_running_loop().call_later(0.01, client.goes.set)
        with pytest.raises(ApiError, match="closed the connection"):
            await unless_gone(client, last())  # type: ignore[arg-type]
        assert work.is_clean

    asyncio.run(run())


def test_an_error_of_the_work_is_raised() -> None:
    async def fail() -> int:
        raise KeyError("lost")

    async def run() -> None:
        with pytest.raises(KeyError):
            await unless_gone(Client(), fail())  # type: ignore[arg-type]

    asyncio.run(run())


def test_long_calls_leave_the_threads_of_the_loop_alone() -> None:
    async def run() -> None:
        is_over = threading.Event()
        waiting = [asyncio.create_task(on_own_thread(is_over.wait)) for _ in range(40)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 5) == 7
        is_over.set()
        assert all(await asyncio.gather(*waiting))

    asyncio.run(run())
