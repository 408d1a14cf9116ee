"""What a client that pushes frames, asks and listens may say on its connection, and what happens then."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from hermes_stream.errors import HermesError, UsageError
from hermes_stream.server.context import Server
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError, Problem, not_found, problem_of
from hermes_stream.server.push.channel import GOING_AWAY, MOVED, NO_FEED, NO_SESSION, Channel, Close
from hermes_stream.server.push.images import PictureFormat
from hermes_stream.server.push.push_feed import PushFeed
from hermes_stream.server.push.push_messages import (
    AudioChunk,
    Message,
    MessageError,
    QueryCancel,
    SessionConfig,
    Subscribe,
    VideoDone,
    VideoFrame,
    VideoQuery,
    parse_binary,
    parse_text,
)
from hermes_stream.server.settings import SessionSpec

_log = logging.getLogger(__name__)
_N_NAME_BYTES = 6
_NOT_HEARD = Problem(
    400, "audio_not_supported", "no model here hears; audio.chunk is left out, frames and questions count"
)
_CANCELLED = Problem(499, "cancelled", "you cancelled the question")


class PushClient:
    """One client; used on the server's loop.

    It is bound to a session, or gets one with its first message: that of `session.config`, or one of its own, which
    ends with the connection. The latter kind of client is spoken to as vLLM-Omni's expect it: fields without meaning
    are left out, a question sees every frame that was sent before it, and the connection ends after `session.done`.
    """

    def __init__(self, channel: Channel, server: Server, owner: str, live: LiveSession | None) -> None:
        """live: the session that the address names; None where it names none."""
        self._channel, self._server, self._owner = channel, server, owner
        self._live: LiveSession | None = None
        self._is_compatible = live is None
        self._own: asyncio.Task[LiveSession] | None = None
        limits = server.settings.limits
        self._form = PictureFormat(limits.max_frame_bytes, limits.max_frame_pixels)
        self._feed: PushFeed | None = None
        self._questions: dict[str, asyncio.Task[None]] = {}
        self._resumes = self._is_done = self._is_subscribed = self._is_told_of_sound = False
        if live is not None:
            self._join(live)

    async def hear(self, received: dict[str, Any]) -> None:
        """One message of the client. What is wrong with it is answered, and the connection goes on."""
        try:
            text = received.get("text")
            if text is not None:
                await self._do(parse_text(text, is_lenient=self._is_compatible))
            else:
                seconds, picture = parse_binary(received["bytes"])
                await self._give(picture, seconds)
        except MessageError as error:
            self._channel.put(problem_of(error).event(error.question))
        except ApiError as error:
            self._channel.put(problem_of(error).event())
            if error.code == "already_fed":
                self._channel.stop(Close(NO_FEED, str(error)))
        except HermesError as error:
            self._channel.put(problem_of(error).event())

    async def leave(self) -> None:
        """The client is gone."""
        if self._feed is not None:
            await self._feed.leave("the client left")
        if self._own is not None:
            await self._server.hub.close(await self._own)

    async def _do(self, message: Message) -> None:
        match message:
            case SessionConfig():
                await self._configure(message)
            case VideoFrame():
                await self._give(message.data, message.time_s)
            case VideoQuery():
                self._ask(await self._session(), message)
            case QueryCancel():
                self._cancel(message.id)
            case VideoDone():
                self._finish(await self._session())
            case Subscribe():
                await self._session()
                self._is_subscribed = True
            case AudioChunk():
                if not self._is_told_of_sound:
                    self._is_told_of_sound = True
                    self._channel.put(_NOT_HEARD.event())

    async def _configure(self, config: SessionConfig) -> None:
        """Raises ApiError where the session cannot be opened or found, UsageError for what can no longer be chosen."""
        wanted = config.of_session()
        if self._is_compatible and wanted.get("model") not in self._server.hub.engines:
            # These clients name the model that they were written for.
            wanted.pop("model", None)
        live = self._live
        if live is None and config.session_id is None:
            live = await self._open(SessionSpec(**wanted))
        elif wanted:
            raise UsageError(f"the session is open already; {', '.join(wanted)} can be chosen when one is opened")
        elif live is None:
            live = await self._server.hub.find(config.session_id or "", self._owner)
        elif config.session_id not in (None, live.name):
            raise UsageError(f"this connection is one to session {live.name}; open another for another session")
        kind: Literal["file", "raw"] = "raw" if config.format == "raw" else "file"
        self._form = replace(self._form, kind=kind, width=config.width or 0, height=config.height or 0)
        self._resumes = config.resume
        if self._feed is not None and config.resume:
            self._feed.resume()
        self._join(live)

    async def _open(self, spec: SessionSpec) -> LiveSession:
        """A session of the client's own; should it leave meanwhile, that is still there to be closed."""
        self._own = asyncio.create_task(self._server.hub.open(spec, self._owner, is_kept=False))
        try:
            return await asyncio.shield(self._own)
        except HermesError:
            self._own = None
            raise

    def _join(self, live: LiveSession) -> None:
        """The session that the client has to do with from now on; it is told how that stands."""
        if self._live is None:
            self._live = live
            self._channel.spawn(self._follow(live))
        self._channel.put({"type": "session.ready", "session": live.to_json()})

    async def _session(self) -> LiveSession:
        """The session; a client that did not say which gets one of its own."""
        if self._live is None:
            await self._configure(SessionConfig())
        assert self._live is not None
        return self._live

    async def _follow(self, live: LiveSession) -> None:
        """Tell those who want to hear it what happens in the session; when that is over, so is the connection."""
        with live.bus.listen() as listener:
            async for event in listener:
                if self._is_subscribed:
                    self._channel.put({**event.data, "type": event.kind})
                if event.kind == "moved":
                    self._channel.stop(Close(MOVED, event.data["reason"]))
        is_closed = live.session.is_closed
        self._channel.stop(Close(NO_SESSION, f"session {live.name} was closed") if is_closed else Close(GOING_AWAY))

    async def _give(self, picture: bytes | str, seconds: float | None) -> None:
        """Raises ApiError where somebody else feeds the session."""
        live = await self._session()
        if self._is_done:
            raise UsageError("a frame came after video.done; connect again to send more")
        if self._feed is None:
            self._feed = PushFeed(live, self._server.decoding, self._channel.put, is_patient=self._is_compatible)
            if self._resumes:
                self._feed.resume()
        await self._feed.give(picture, seconds, self._form)

    def _finish(self, live: LiveSession) -> None:
        if not self._is_done:
            self._is_done = True
            self._channel.spawn(self._done(live))

    async def _done(self, live: LiveSession) -> None:
        """No more frames: what is under way comes to its end first."""
        if self._feed is not None:
            await self._feed.finish("the client sent video.done")
        await asyncio.gather(*self._questions.values(), return_exceptions=True)
        self._channel.put({"type": "session.done", "session": live.to_json()})
        if self._is_compatible:
            self._channel.stop(Close(1000))

    def _ask(self, live: LiveSession, query: VideoQuery) -> None:
        """Raises MessageError where a question of that name, or too many, are being answered."""
        name = query.id or secrets.token_hex(_N_NAME_BYTES)
        if name in self._questions:
            raise MessageError(f"question {name!r} is being answered; give each one its own id", name)
        if len(self._questions) >= self._server.settings.limits.max_open_questions:
            raise MessageError(f"{len(self._questions)} questions are open, the limit; wait for one", name)
        request = query.model_copy(update={"id": name})
        task = self._questions[name] = self._channel.spawn(self._answer(live, request, name))
        task.add_done_callback(lambda task: self._forget(name, task))

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        """The question is over; one that was cancelled may have a successor of its name."""
        if self._questions.get(name) is task:
            del self._questions[name]

    async def _answer(self, live: LiveSession, request: VideoQuery, name: str) -> None:
        try:
            if self._is_compatible and self._feed is not None:
                await self._feed.all_in()
            async with aclosing(self._server.asker.ask(live, self._owner, request)) as events:
                async for event in events:
                    self._channel.put(event)
        except Exception as error:  # the connection has more than this question
            problem = problem_of(error)
            if problem.status >= 500:
                _log.error("question %s: %s", name, error, exc_info=error, extra={"session": live.name})
            self._channel.put(problem.event(name))

    def _cancel(self, name: str) -> None:
        task = self._questions.pop(name, None)
        if task is not None:
            task.cancel()
        problem = problem_of(not_found("open question", name)) if task is None else _CANCELLED
        self._channel.put(problem.event(name))
