"""Three servers, one session, and anything that can happen: it has one owner, and what was saved is there."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hermes_stream import Engine
from hermes_stream.errors import HermesError
from hermes_stream.server.live_session import LiveSession

from .members import Member, frames, member, until

pytestmark = pytest.mark.slow

_N_STEPS = 60
_TTL_SECONDS = 2.0


class _Scene:
    """n_saved: frames that some owner was told are saved. n_moves: how often somebody found the session."""

    def __init__(self, members: list[Member], seed: int) -> None:
        self.members, self.chance = members, random.Random(seed)
        self.n_saved = self.n_moves = 0

    def here(self, one: Member) -> LiveSession | None:
        return next((live for live in one.hub.sessions() if live.name == "s"), None)

    def check(self) -> None:
        owners = [one.place.name for one in self.members if self.here(one) is not None]
        assert len(owners) <= 1, f"{owners} all have it"

    async def ask(self, one: Member) -> None:
        """Somebody is routed to a server, sees at least what was saved, and pushes and saves some more."""
        n_saved = self.n_saved
        try:
            live = await asyncio.wait_for(one.find_routed("s"), 3 * _TTL_SECONDS)
        except (HermesError, TimeoutError):
            return
        self.n_moves += 1
        n_frames = live.session.stats.frames_seen
        assert n_frames >= n_saved, "what was saved is not there"
        try:
            await asyncio.to_thread(live.watch, frames(n_frames, n_frames + 1))
            if self.chance.random() < 0.5:
                await one.hub.keeper.save(live)
                self.n_saved = max(self.n_saved, n_frames + 1)
        except HermesError:
            # It was taken away meanwhile.
            return

    async def step(self) -> None:
        one = self.chance.choice(self.members)
        what = self.chance.random()
        if what < 0.55:
            await self.ask(one)
        elif what < 0.65:
            await asyncio.gather(*(self.ask(each) for each in self.members))
        elif what < 0.8:
            one.line.is_cut = not one.line.is_cut
        elif (live := self.here(one)) is not None:
            await one.fleet.let_go(live, "test")
        await asyncio.sleep(self.chance.random() * _TTL_SECONDS / 4)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_a_session_has_one_owner_and_nothing_saved_is_lost(
    engine: Engine, tmp_path: Path, seed: int
) -> None:
    async def play() -> None:
        async with AsyncExitStack() as stack:
            members = [
                await stack.enter_async_context(member(engine, tmp_path, name, ttl_seconds=_TTL_SECONDS))
                for name in ("one", "two", "three")
            ]
            await members[0].open("s")
            scene, is_over = _Scene(members, seed), asyncio.Event()

            async def watch() -> None:
                while not is_over.is_set():
                    scene.check()
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            for _ in range(_N_STEPS):
                await scene.step()
                assert not watching.done() or watching.result() is None
            for one in members:
                one.line.is_cut = False
            await until(lambda: all(one.is_sure for one in members))
            before = scene.n_moves
            await scene.ask(members[1])
            is_over.set()
            await watching
            assert scene.n_moves == before + 1
            assert before > _N_STEPS / 8, "nothing much happened"

    asyncio.run(play())
