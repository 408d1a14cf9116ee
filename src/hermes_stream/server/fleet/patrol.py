"""What a server of a fleet does again and again: show that it lives, see who does not, and act on it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from hermes_stream.errors import HermesError
from hermes_stream.server.fleet.fleet import POLLS_PER_TTL, Fleet, Place, wishes
from hermes_stream.server.hub import Hub
from hermes_stream.server.problems import ApiError

_log = logging.getLogger(__name__)
T = TypeVar("T")

_BEATS_PER_TTL = 5


class Patrol:
    """Used on the server's loop.

    on_sure: told whether this server may serve sessions: not while the others could take it for dead.
    """

    def __init__(self, hub: Hub, fleet: Fleet, place: Place, on_sure: Callable[[bool], None]) -> None:
        self._hub, self._fleet, self._place, self._on_sure = hub, fleet, place, on_sure
        self._heartbeats, self._ttl_seconds = place.heartbeats, place.ttl_seconds
        # Beats must not wait behind checkpoints.
        self._pulse = ThreadPoolExecutor(1, "hermes-heartbeat")
        self._handing: dict[str, asyncio.Task[None]] = {}
        self._beat_now = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._is_sure, self._is_leaving = True, False
        # Sources that were watched when this server was not sure of itself any more.
        self._to_resume: set[str] = set()
        hub.on_open.append(lambda _: self._beat_now.set())

    async def join(self) -> None:
        """Be one of the fleet. Raises HermesError where the store cannot be used."""
        await self._on_pulse(self._heartbeats.join)
        await self._on_pulse(self._heartbeats.look)
        _log.info("joined the fleet as %s", self._place.name)

    def start(self) -> None:
        """From now on beat, look after the others, hand over what they want."""
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        beat_seconds, poll_seconds = self._ttl_seconds / _BEATS_PER_TTL, self._ttl_seconds / POLLS_PER_TTL
        async with asyncio.TaskGroup() as group:
            group.create_task(_often(self._beat, beat_seconds, self._beat_now))
            group.create_task(_often(self._guard, poll_seconds))
            group.create_task(_often(self._answer_wishes, poll_seconds))
            group.create_task(_often(self._adopt, beat_seconds))

    async def leave(self) -> None:
        """Hand all sessions over, then be gone; once is enough."""
        if self._is_leaving:
            return
        self._is_leaving, watching = True, self._watching()
        lives = [live for live in self._hub.sessions() if live.identity.is_kept]
        await asyncio.gather(*(self._fleet.let_go(live, "this server ends") for live in lives))
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        try:
            if self._heartbeats.is_sure:
                await self._on_pulse(lambda: self._heartbeats.beat(watching, is_leaving=True))
        except HermesError as error:
            _log.error("the others are not told that this server ends: %s", error)
        self._pulse.shutdown(wait=False)

    async def _beat(self) -> None:
        watching = self._watching()
        await self._on_pulse(lambda: self._heartbeats.beat(watching))
        await self._on_pulse(self._heartbeats.look)

    async def _guard(self) -> None:
        """Serve nothing that others may own by now."""
        checkpoints = self._place.checkpoints
        lost, checkpoints.lost = checkpoints.lost, set()
        await asyncio.gather(*(self._fleet.give_up(live) for live in self._hub.sessions() if live.name in lost))
        is_sure = self._heartbeats.is_sure
        if is_sure == self._is_sure:
            return
        self._is_sure = is_sure
        self._on_sure(is_sure and not self._is_leaving)
        if is_sure:
            _log.info("the shared store is there again")
            return
        _log.error("the shared store could not be written for too long: others may take all sessions from here")
        self._to_resume |= set(self._watching())
        lives = [live for live in self._hub.sessions() if live.identity.is_kept]
        await asyncio.gather(*(self._fleet.give_up(live) for live in lives))

    async def _answer_wishes(self) -> None:
        """Hand over what others are asked for."""
        for name in await asyncio.to_thread(self._place.store.names, wishes(self._place.name)):
            if name not in self._handing:
                self._handing[name] = asyncio.create_task(self._grant(name))

    async def _grant(self, name: str) -> None:
        try:
            await asyncio.to_thread(self._place.store.remove, f"{wishes(self._place.name)}/{name}")
            await self._fleet.grant(name)
        except HermesError as error:
            _log.error("a session is not handed over: %s", error, extra={"session": name})
        finally:
            del self._handing[name]

    async def _adopt(self) -> None:
        """Go on watching the sources of servers that are gone, and one's own of before."""
        if self._is_leaving or not self._heartbeats.is_sure:
            return
        for name in list(self._to_resume):
            if await self._try_to_bring(name):
                self._to_resume.discard(name)
        for holder, (beat, silent_seconds) in self._heartbeats.dead().items():
            is_overdue = silent_seconds > 2 * self._ttl_seconds
            due = [name for name in beat.watching if is_overdue or self._is_heir(name)]
            is_done = all([await self._try_to_bring(name) for name in due])
            if is_done and len(due) == len(beat.watching):
                await asyncio.to_thread(self._place.store.remove, wishes(holder))
                await asyncio.to_thread(self._heartbeats.remove, holder)

    async def _try_to_bring(self, name: str) -> bool:
        """Whether a session is looked after now: here or by another; or it is gone."""
        try:
            await self._fleet.bring(name, None)
        except HermesError as error:
            if isinstance(error, ApiError) and error.code == "session_elsewhere":
                return True
            _log.error("a source is not watched on: %s", error, extra={"session": name})
            return False
        return True

    def _is_heir(self, name: str) -> bool:
        """Of all that live, the same one for everybody; another one for each session."""
        alive, mine = self._heartbeats.alive(), self._place.name
        return mine == max(alive, key=lambda server: hashlib.sha256(f"{server}/{name}".encode()).digest())

    def _watching(self) -> list[str]:
        return [
            live.name
            for live in self._hub.sessions()
            if live.identity.is_kept and live.identity.spec.source is not None and live.state != "ended"
        ]

    async def _on_pulse(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pulse, work)


async def _often(work: Callable[[], Awaitable[None]], seconds: float, soon: asyncio.Event | None = None) -> None:
    """Again and again; what goes wrong is logged, once while it is the same. soon: does not wait for the next time."""
    soon, trouble = soon or asyncio.Event(), ""
    while True:
        soon.clear()
        try:
            await work()
            trouble = ""
        except HermesError as error:
            if str(error) != trouble:
                _log.error("the fleet: %s", error)
            trouble = str(error)
        except Exception:  # whatever it was, this server would be lost to the others if this came to an end
            _log.exception("the fleet")
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await soon.wait()
