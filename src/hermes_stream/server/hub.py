"""All sessions of a server, by name: opened, found, brought back and closed."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.errors import HermesError, unknown_name
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.policies.spec import parse_memory
from hermes_stream.server.bus import Bus
from hermes_stream.server.live_session import Identity, LiveSession
from hermes_stream.server.observe.logs import about_session
from hermes_stream.server.problems import ApiError, not_found
from hermes_stream.server.settings import Limits, SessionSpec
from hermes_stream.server.state.journal import Journal
from hermes_stream.server.state.keeper import Keeper
from hermes_stream.server.state.thumbnails import Thumbnails

_log = logging.getLogger(__name__)
_N_NAME_BYTES = 8


class Elsewhere(Protocol):
    """Where sessions are that are not here: a store that several servers share."""

    async def begin(self, identity: Identity) -> None:
        """A session begins here. Raises ApiError where there is one of that name."""
        ...

    async def bring(self, name: str, owner: str | None) -> LiveSession | None:
        """Take a session over; None where there is none that belongs to the key."""
        ...

    async def let_go(self, live: LiveSession, reason: str) -> None:
        """Save a session for whoever asks for it next."""
        ...


class Hub:
    """Everything here runs on the server's loop; what takes long goes to threads.

    before_open: asked before a session begins; refuses by raising. on_open: told of every session that begins or is
    back. on_close: before a session ends, which waits for those that take time. on_forget: of a time range of a session
    that must go, wherever something of it is kept. on_part: of a session that goes on elsewhere, once it is closed.
    elsewhere: where several servers share their sessions.
    """

    def __init__(self, engines: Mapping[str, Engine], journal: Journal, keeper: Keeper, limits: Limits) -> None:
        """engines: by model name, the default one first."""
        self.engines, self.journal, self.keeper, self.limits = engines, journal, keeper, limits
        self.before_open: list[Callable[[SessionSpec], Awaitable[None]]] = []
        self.on_open: list[Callable[[LiveSession], None]] = []
        self.on_close: list[Callable[[LiveSession], Awaitable[None] | None]] = []
        self.on_forget: list[Callable[[LiveSession, float, float], None]] = []
        self.on_part: list[Callable[[str], None]] = []
        self.elsewhere: Elsewhere | None = None
        self._sessions: dict[str, LiveSession] = {}
        # Closed because nobody used them; they are saved, and come back when somebody asks for them.
        self._parked: dict[str, Identity] = {}
        self._opening: list[str] = []
        self._waking = asyncio.Lock()

    def engine(self, model: str | None) -> Engine:
        """The engine of a model, by default the first one. Raises ApiError for a model that is not served."""
        if model is None:
            return next(iter(self.engines.values()))
        if model not in self.engines:
            raise ApiError(404, "model_not_found", unknown_name("model", model, self.engines))
        return self.engines[model]

    def sessions(self, owner: str | None = None) -> list[LiveSession]:
        """The sessions of a key, or all."""
        return [live for live in self._sessions.values() if owner in (None, live.identity.owner)]

    async def find(self, name: str, owner: str | None = None) -> LiveSession:
        """A session, brought back first if it was idle. Raises ApiError where there is none that belongs to the key."""
        wake = self._wake if self.elsewhere is None else self.elsewhere.bring
        live = self._sessions.get(name) or await wake(name, owner)
        if live is None or owner not in (None, live.identity.owner):
            raise not_found("session", name)
        live.touch()
        return live

    async def open(
        self, spec: SessionSpec, owner: str, *, is_kept: bool = True, name: str | None = None
    ) -> LiveSession:
        """Begin a session. Raises ApiError where a limit is reached, HermesError for settings that cannot work.

        is_kept: whether a restart brings it back; who opens one that is not must close it. name: its id, by default a
        new one.
        """
        engine = self.engine(spec.model)
        return await self._begin(spec, owner, engine, lambda: open_session(engine, spec), is_kept=is_kept, name=name)

    async def fork(self, live: LiveSession, spec: SessionSpec, owner: str) -> LiveSession:
        """A second session with the same past and a feed of its own."""
        return await self._begin(spec, owner, live.engine, live.session.fork, past=live)

    async def restore(self, snapshot: Snapshot, spec: SessionSpec, owner: str) -> LiveSession:
        """A session that goes on where a snapshot was taken. Raises SnapshotError where it does not fit."""
        engine = self.engine(spec.model)
        return await self._begin(spec, owner, engine, lambda: engine.restore(snapshot))

    async def exchange(self, live: LiveSession, make: Callable[[], Session]) -> LiveSession:
        """Put another engine's session behind a name; nobody feeds it until it is made. Answers under way go on."""
        await self._tell_closing(live)
        try:
            session = await asyncio.to_thread(make)
        except BaseException:
            self._admit(live)
            raise
        new = LiveSession(
            live.identity,
            live.engine,
            session,
            self.journal,
            live.bus,
            thumbnails=live.thumbnails,
            origin_seconds=live.origin_seconds,
        )
        self._admit(new)
        await asyncio.to_thread(live.session.close)
        return new

    async def close(self, live: LiveSession, *, keeps_state: bool = False) -> None:
        """End a session. keeps_state: save it, so that it is back with the next start; else nothing stays of it."""
        if self._sessions.pop(live.name, None) is None:
            return
        await self._tell_closing(live)
        keeps_state = keeps_state and live.identity.is_kept
        try:
            if keeps_state:
                await self.keeper.save(live)
        finally:
            await asyncio.to_thread(live.close)
        if not keeps_state:
            await asyncio.to_thread(self.keeper.forget, live.name)

    async def part(self, live: LiveSession, reason: str, *, saves: bool = True) -> None:
        """Close a session that goes on elsewhere; whoever is connected is told so.

        Raises HermesError, with the session still open, if it cannot be saved.
        """
        if saves:
            # While it goes on: what is to be saved once it stands still is less.
            await self.keeper.save(live)
        if self._sessions.pop(live.name, None) is None:
            return
        live.say_goodbye(reason)
        await self._tell_closing(live)
        try:
            if saves:
                await self.keeper.save(live)
        except HermesError as error:
            _log.error("the last moments are not saved: %s", error, extra={"session": live.name})
        finally:
            await asyncio.to_thread(live.close)
            await asyncio.to_thread(self.keeper.let_go, live.name)
            for tell in self.on_part:
                tell(live.name)

    async def revive(self, identity: Identity) -> LiveSession:
        """Go on with a session where its newest checkpoint is. Raises HermesError where that cannot be read."""
        live = await asyncio.to_thread(self._restored, identity, Bus(asyncio.get_running_loop()))
        self.keeper.begin(identity)
        self._admit(live)
        return live

    async def restore_all(self, identities: Iterable[Identity] | None = None) -> None:
        """Bring back sessions, by default every one that is known. What cannot be read is logged and left out."""
        for identity in self.keeper.known() if identities is None else identities:
            with about_session(identity.name):
                try:
                    live = await asyncio.to_thread(self._restored, identity, Bus(asyncio.get_running_loop()))
                except HermesError as error:
                    _log.error("a session is not back: %s", error)
                except Exception:  # a session that cannot be read is not to keep the others from coming back
                    _log.exception("a session is not back")
                else:
                    self._admit(live)
                    _log.info("a session is back at %.3f s", live.session.stats.time_seconds)

    async def save_all(self) -> None:
        """Save every session that has changed; one that cannot be saved does not keep the others from it."""
        for live in self.sessions():
            try:
                await self.keeper.save(live)
            except HermesError as error:
                _log.error("a session is not saved: %s", error, extra={"session": live.name})

    async def close_idle(self) -> None:
        """End the sessions that nobody has used for too long; if they can be saved, they come back when needed."""
        idle_seconds = self.limits.idle_seconds
        for live in self.sessions():
            if idle_seconds is not None and live.feed is None and time.monotonic() - live.used_at > idle_seconds:
                _log.info("a session was idle for %g s and is closed", idle_seconds, extra={"session": live.name})
                # Nobody may bring it back before it is saved.
                async with self._waking:
                    await self._park(live)

    async def _park(self, live: LiveSession) -> None:
        """Save and close a session; one that cannot be saved stays open."""
        if self.elsewhere is not None and live.identity.is_kept:
            await self.elsewhere.let_go(live, "nobody has used it for long")
            return
        try:
            if live.identity.is_kept:
                await self.keeper.save(live)
            await self.close(live, keeps_state=True)
        except HermesError as error:
            _log.error("a session is not put away: %s", error, extra={"session": live.name})
            live.touch()
        else:
            if self.keeper.folder is not None and live.identity.is_kept:
                self._parked[live.name] = live.identity

    async def shut_down(self) -> None:
        """Save all and close all."""
        for live in self.sessions():
            try:
                await self.close(live, keeps_state=True)
            except HermesError as error:
                _log.error("a session is not saved: %s", error, extra={"session": live.name})

    def end_events(self) -> None:
        """Whoever listens to a session comes to an end; the sessions go on, or move."""
        for live in self.sessions():
            if self.elsewhere is not None and live.identity.is_kept:
                live.say_goodbye(f"session {live.name} moves: this server ends; connect again to go on")
            live.bus.close()

    async def _wake(self, name: str, owner: str | None) -> LiveSession | None:
        """A parked session is a session again. Somebody else may have had the same thought."""
        async with self._waking:
            if name in self._sessions:
                return self._sessions[name]
            identity = self._parked.get(name)
            if identity is None or owner not in (None, identity.owner):
                return None
            self.check_limits(identity.owner)
            live = await asyncio.to_thread(self._restored, identity, Bus(asyncio.get_running_loop()))
            del self._parked[name]
            self._admit(live)
            return live

    async def _begin(
        self,
        spec: SessionSpec,
        owner: str,
        engine: Engine,
        make: Callable[[], Session],
        past: LiveSession | None = None,
        *,
        is_kept: bool = True,
        name: str | None = None,
    ) -> LiveSession:
        self.check_limits(owner)
        identity = Identity(name or secrets.token_hex(_N_NAME_BYTES), spec, owner, time.time(), is_kept)
        self._opening.append(owner)
        try:
            for ask in self.before_open:
                await ask(spec)
            session = await self._made(identity, make)
        finally:
            self._opening.remove(owner)
        bus = Bus(asyncio.get_running_loop())
        # Before anybody is told: who feeds the session needs its clock.
        thumbnails = None if past is None else Thumbnails.from_bytes(past.thumbnails.to_bytes())
        origin_seconds = None if past is None else past.origin_seconds
        live = LiveSession(
            identity, engine, session, self.journal, bus, thumbnails=thumbnails, origin_seconds=origin_seconds
        )
        self.keeper.begin(identity)
        self._admit(live)
        return live

    async def _made(self, identity: Identity, make: Callable[[], Session]) -> Session:
        """An engine's session for a name that is nobody else's."""
        if self.elsewhere is None or not identity.is_kept:
            return await asyncio.to_thread(make)
        await self.elsewhere.begin(identity)
        try:
            return await asyncio.to_thread(make)
        except BaseException:
            await asyncio.to_thread(self.keeper.forget, identity.name)
            raise

    async def _tell_closing(self, live: LiveSession) -> None:
        for tell in self.on_close:
            told = tell(live)
            if told is not None:
                await told

    def _admit(self, live: LiveSession) -> None:
        self._sessions[live.name] = live
        # Tasks that are begun here keep what they log under the session's name.
        with about_session(live.name):
            for tell in self.on_open:
                tell(live)

    def check_limits(self, owner: str) -> None:
        """Raises ApiError where one more session is too many."""
        most, most_of_key = self.limits.max_sessions, self.limits.max_sessions_per_key
        if len(self._sessions) + len(self._opening) >= most:
            raise ApiError(429, "too_many_sessions", f"the server has {most} sessions, its limit; try again later")
        if len(self.sessions(owner)) + self._opening.count(owner) >= most_of_key:
            raise ApiError(429, "too_many_sessions", f"you have {most_of_key} sessions, your limit; delete one first")

    def _restored(self, identity: Identity, bus: Bus) -> LiveSession:
        """On a thread."""
        engine, checkpoint = self.engine(identity.spec.model), self.keeper.newest(identity.name)
        if checkpoint is None:
            return LiveSession(identity, engine, open_session(engine, identity.spec), self.journal, bus)
        session = engine.restore(checkpoint.snapshot)
        if "journal" in checkpoint.about:
            self.journal.take_in(identity.name, checkpoint.about["journal"])
        thumbnails, origin_seconds = checkpoint.thumbnails, checkpoint.about["origin_s"]
        return LiveSession(
            identity, engine, session, self.journal, bus, thumbnails=thumbnails, origin_seconds=origin_seconds
        )


def open_session(engine: Engine, spec: SessionSpec) -> Session:
    """An engine's session. Raises ApiError for a memory that would write where the client says."""
    if spec.memory is not None:
        archive = parse_memory(spec.memory, bytes_per_token=1).archive
        if archive is not None and archive.disk is not None:
            raise ApiError(400, "invalid_request", "a memory may not name a folder of the server; leave out disk")
    chosen = spec.model_dump(include={"memory", "budget", "chunk", "memory_bits"}, exclude_none=True)
    return engine.open(**chosen)
