"""What a server of a fleet owns: sessions that begin here, that it takes over, and that it lets go."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from dataclasses import dataclass
from weakref import WeakValueDictionary

from hermes_stream.errors import HermesError, LeaseLost
from hermes_stream.server.fleet.heartbeats import Heartbeats
from hermes_stream.server.fleet.lease import Claim, Commit, Leases
from hermes_stream.server.fleet.object_store import open_store
from hermes_stream.server.fleet.routing import SESSION_HEADER, is_name, is_routed
from hermes_stream.server.fleet.shared_checkpoints import SharedCheckpoints
from hermes_stream.server.fleet.store import Store
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import Identity, LiveSession
from hermes_stream.server.problems import ApiError

_log = logging.getLogger(__name__)

POLLS_PER_TTL = 20
# For an owner that lives to save a session and let it go.
_PATIENCE_TTLS = 3
_MS = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """A shared store, as one server uses it. name: of the server, which no other one ever had."""

    name: str
    ttl_seconds: float
    store: Store
    leases: Leases
    checkpoints: SharedCheckpoints
    heartbeats: Heartbeats


def open_place(address: str, ttl_seconds: float, key: bytes | None) -> Place:
    """The store at an address. key: under which sessions are sealed. Raises ConfigError for one that cannot be used."""
    store, name = open_store(address), f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    leases = Leases(store, name)
    checkpoints = SharedCheckpoints(store, leases, key)
    return Place(name, ttl_seconds, store, leases, checkpoints, Heartbeats(store, name, ttl_seconds))


class Fleet:
    """Used on the server's loop; the hub's `elsewhere`."""

    def __init__(self, hub: Hub, place: Place) -> None:
        self._hub, self._place = hub, place
        self._leases, self._checkpoints, self._heartbeats = place.leases, place.checkpoints, place.heartbeats
        # What happens to a session, one thing after the other.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def begin(self, identity: Identity) -> None:
        """Own a new session. Raises ApiError where there is one of that name, StoreError where the store is away."""
        self._check_sure()
        name = identity.name
        if not await asyncio.to_thread(self._checkpoints.begin, identity):
            raise ApiError(409, "session_exists", f"there is a session {name!r}; choose another name")
        fence = await asyncio.to_thread(self._claimed, name, None)
        if fence is None:
            raise ApiError(409, "session_exists", f"session {name!r} was taken by another server; ask again")
        await asyncio.to_thread(self._leases.settle, name, fence)
        await asyncio.to_thread(self._checkpoints.hold, name, fence)

    async def bring(self, name: str, owner: str | None) -> LiveSession | None:
        """A session that is not here, taken over from where it was; None where there is none that belongs to the key.

        Raises ApiError where a live server has it and does not hand it over.
        """
        self._check_sure()
        if not is_name(name):
            return None
        async with self._lock(name):
            here = [live for live in self._hub.sessions(owner) if live.name == name]
            if here:
                return here[0]
            identity = await asyncio.to_thread(self._checkpoints.identity, name)
            if identity is None or owner not in (None, identity.owner):
                return None
            self._hub.check_limits(identity.owner)
            before, fence = await self._won(name)
            return await self._take_up(identity, before, fence)

    async def let_go(self, live: LiveSession, reason: str) -> None:
        """Save a session and give up owning it; whoever is connected is told, and finds it at another server.

        One that cannot be saved stays.
        """
        async with self._lock(live.name):
            held = self._checkpoints.held.get(live.name)
            try:
                await self._hub.part(live, f"session {live.name} moves: {reason}; connect again to go on")
            except LeaseLost:
                await self.give_up(live)
            except HermesError as error:
                _log.error("a session is not handed over: %s", error, extra={"session": live.name})
                live.touch()
            else:
                await self._release(live.name, None if held is None else held.fence)

    async def give_up(self, live: LiveSession) -> None:
        """A session that another server may own by now: nothing of it is saved."""
        self._checkpoints.held.pop(live.name, None)
        reason = f"session {live.name} is lost to this server and goes on at another; connect again"
        await self._hub.part(live, reason, saves=False)

    async def grant(self, name: str) -> None:
        """Another server is asked for a session: hand it over, or say that it is not here."""
        for live in self._hub.sessions():
            if live.name == name:
                await self.let_go(live, "it is asked for at another server")
                return
        async with self._lock(name):
            claim = await asyncio.to_thread(self._leases.newest, name)
            if claim is not None and claim.holder == self._place.name and name not in self._checkpoints.held:
                await self._release(name, claim.fence)

    async def _take_up(self, identity: Identity, before: Claim | None, fence: int) -> LiveSession:
        name = identity.name
        try:
            base = await asyncio.to_thread(self._leases.settle, name, fence)
            await asyncio.to_thread(self._checkpoints.hold, name, fence)
            live = await self._hub.revive(identity)
        except BaseException:
            await self._release(name, fence)
            raise
        live.arrival = _told_of_move(before, base)
        live.log("arrived", live.newest_seconds, live.arrival)
        return live

    async def _won(self, name: str) -> tuple[Claim | None, int]:
        """Wait until nobody else owns a session, and claim it. Returns the claim before and the own fence."""
        deadline, is_asked = time.monotonic() + _PATIENCE_TTLS * self._place.ttl_seconds, False
        while True:
            self._check_sure()
            claim = await asyncio.to_thread(self._leases.newest, name)
            if claim is None or await self._is_free(claim):
                fence = await asyncio.to_thread(self._claimed, name, claim)
                if fence is not None:
                    return claim, fence
                continue
            if not is_routed(name):
                raise ApiError(
                    421,
                    "session_elsewhere",
                    f"session {name} is at another server; send {SESSION_HEADER}: {name}, so that it is found",
                )
            if not is_asked:
                await asyncio.to_thread(self._place.store.write, f"{wishes(claim.holder)}/{name}", b"")
                is_asked = True
            if time.monotonic() > deadline:
                raise ApiError(
                    503, "session_elsewhere", f"session {name} is at a server that does not hand it over; try again"
                )
            await asyncio.sleep(self._place.ttl_seconds / POLLS_PER_TTL)

    async def _is_free(self, claim: Claim) -> bool:
        if claim.is_released or claim.holder == self._place.name:
            return True
        # Behind the claim, so that its holder's file is there if it lives.
        await asyncio.to_thread(self._heartbeats.look)
        return self._heartbeats.is_dead(claim.holder)

    def _claimed(self, name: str, before: Claim | None) -> int | None:
        """On a thread. Time since 1970 is a first fence that none of a deleted session of that name can reach."""
        return self._leases.take(name, before, int(time.time() * _MS))

    async def _release(self, name: str, fence: int | None) -> None:
        self._checkpoints.held.pop(name, None)
        if fence is None:
            return
        try:
            await asyncio.to_thread(self._leases.release, name, fence)
        except HermesError as error:
            _log.error("a session is not released, and others wait for it: %s", error, extra={"session": name})

    def _check_sure(self) -> None:
        if not self._heartbeats.is_sure:
            raise ApiError(503, "not_ready", "the shared store cannot be reached; try again in a moment")

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def wishes(holder: str) -> str:
    """Where others write down which sessions they want of a server."""
    return f"wanted/{holder}"


def _told_of_move(before: Claim | None, base: Commit | None) -> dict[str, object]:
    """What the journal says: which server had the session, and up to when it is known what that saw."""
    is_lost = before is not None and not before.is_released
    known_seconds = None if base is None else base.time_seconds
    reason = "its server was lost; what it saw after its last save is not known" if is_lost else "it was handed over"
    return {"from": None if before is None else before.holder, "reason": reason, "known_until_s": known_seconds}
