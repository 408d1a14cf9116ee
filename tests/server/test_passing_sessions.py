"""Sessions that end with a request or a connection: nothing of them stays, even of a server that was killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hermes_stream import Engine
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.openai_api.answers import passing_session
from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import Limits, SessionSpec
from hermes_stream.server.state.journal import Journal
from hermes_stream.server.state.keeper import Keeper
from hermes_stream.server.state.state_folder import StateFolder

from ..tiny import make_frames


@contextmanager
def kept_in(root: Path) -> Iterator[tuple[Journal, Keeper]]:
    """What a server has on disk; left as a killed one leaves it, since all of it is written at once."""
    folder = StateFolder(root)
    journal = Journal(folder.journal_path)
    try:
        yield journal, Keeper(journal, folder, n_older=2)
    finally:
        journal.close()
        folder.close()


def test_a_killed_server_leaves_nothing_of_it(engine: Engine, tmp_path: Path) -> None:
    async def live_and_be_killed() -> tuple[str, str]:
        with kept_in(tmp_path) as (journal, keeper):
            hub = Hub({"random": engine}, journal, keeper, Limits())
            kept = await hub.open(SessionSpec(), "somebody")
            passing = await hub.open(SessionSpec(), "somebody", is_kept=False)
            for live in (kept, passing):
                live.session.watch(make_frames(3))
                live.log("question", 1.0, {"question": "What?"})
            await hub.save_all()
            return kept.name, passing.name

    async def live_again(passing: str) -> list[str]:
        with kept_in(tmp_path) as (journal, keeper):
            hub = Hub({"random": engine}, journal, keeper, Limits())
            keeper.sweep()
            await hub.restore_all()
            assert journal.entries(passing) == []
            names = [live.name for live in hub.sessions()]
            assert [len(journal.entries(name)) for name in names] == [1]
            await hub.shut_down()
            return names

    kept, passing = asyncio.run(live_and_be_killed())
    assert asyncio.run(live_again(passing)) == [kept]
    assert [folder.name for folder in (tmp_path / "sessions").iterdir()] == [kept]


def test_a_server_that_shuts_down_leaves_nothing_of_it(engine: Engine, tmp_path: Path) -> None:
    async def live_and_end() -> None:
        with kept_in(tmp_path) as (journal, keeper):
            hub = Hub({"random": engine}, journal, keeper, Limits())
            passing = await hub.open(SessionSpec(), "somebody", is_kept=False)
            passing.session.watch(make_frames(3))
            passing.log("question", 1.0, {"question": "What?"})
            await hub.shut_down()
            assert passing.session.is_closed
            assert journal.entries(passing.name) == []

    asyncio.run(live_and_end())
    assert list((tmp_path / "sessions").iterdir()) == []


def test_it_counts_while_it_lasts_and_ends_whatever_happens_in_it(engine: Engine, tmp_path: Path) -> None:
    async def run() -> None:
        with kept_in(tmp_path) as (journal, keeper):
            hub = Hub({"random": engine}, journal, keeper, Limits(max_sessions=1))

            async def fail_in_it() -> None:
                async with passing_session(hub, SessionSpec(), "somebody"):
                    opened.extend(hub.sessions())
                    with pytest.raises(ApiError, match="its limit"):
                        await hub.open(SessionSpec(), "somebody else")
                    raise KeyError("lost")

            opened: list[LiveSession] = []
            with pytest.raises(KeyError, match="lost"):
                await fail_in_it()
            assert [live.session.is_closed for live in opened] == [True]
            assert hub.sessions() == []

    asyncio.run(run())
