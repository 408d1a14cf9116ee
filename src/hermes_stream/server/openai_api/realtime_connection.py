"""One realtime connection: what its client says, in order, and the responses that are being given."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from hermes_stream.server.context import Server
from hermes_stream.server.following import Followed
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.openai_api.asking import ask_of
from hermes_stream.server.openai_api.conversation import Conversation, Item, new_name
from hermes_stream.server.openai_api.dialogue import Said, dialogue_of
from hermes_stream.server.openai_api.picture_feed import PictureFeed
from hermes_stream.server.openai_api.realtime_messages import (
    ClientMessage,
    ImageContent,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ResponseCancel,
    ResponseCreate,
    ResponseParam,
    SessionUpdate,
    n_tokens,
    parse_message,
)
from hermes_stream.server.openai_api.response import Response
from hermes_stream.server.problems import ApiError, problem_of
from hermes_stream.server.push.channel import MOVED, close_reason

_DEFAULT_TOKENS = 512


@dataclass(frozen=True, slots=True)
class _Running:
    """A response that is being given: what it is made from, and the task that tells of it."""

    response: Response
    asked: Followed[dict[str, Any]]
    task: asyncio.Task[None]

    @property
    def is_of_conversation(self) -> bool:
        return self.response.conversation is not None


class RealtimeConnection:
    """Takes one message after the other; what is wrong with one is told, and the connection goes on.

    Pictures are in the session's memory before the next message is looked at: a client that sends faster waits.
    """

    def __init__(self, websocket: WebSocket, server: Server, owner: str, live: LiveSession) -> None:
        self._websocket, self._server, self._owner, self._live = websocket, server, owner, live
        self._sending = asyncio.Lock()
        self._conversation = Conversation()
        self._pictures = PictureFeed(server.settings.limits, server.decoding)
        self._instructions = ""
        self._most_tokens = _DEFAULT_TOKENS
        self._running: dict[str, _Running] = {}

    async def run(self) -> None:
        """Until the client goes; then everything that is under way for it ends."""
        following = asyncio.create_task(self._go_with_session())
        try:
            await self._send("session.created", {"session": self._session_json()})
            while True:
                await self._take(await self._websocket.receive())
        except WebSocketDisconnect:
            pass
        finally:
            following.cancel()
            self._pictures.end()
            for running in list(self._running.values()):
                running.task.cancel()
                await running.asked.aclose()

    async def _go_with_session(self) -> None:
        """A session that goes on at another server takes its clients along."""
        with self._live.bus.listen() as listener:
            async for event in listener:
                if event.kind == "moved":
                    async with self._sending:
                        with suppress(WebSocketDisconnect, RuntimeError):
                            await self._websocket.close(MOVED, close_reason(event.data["reason"]))

    async def _take(self, received: Any) -> None:
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1000))
        event_id: str | None = None
        try:
            fields = _json_of(received)
            event_id = fields["event_id"] if isinstance(fields.get("event_id"), str) else None
            await self._handle(parse_message(fields))
        except Exception as error:  # whatever it is, the next message may be a good one
            await self._send_error(error, event_id)

    async def _handle(self, message: ClientMessage) -> None:
        match message:
            case SessionUpdate():
                await self._update(message)
            case ItemCreate():
                await self._add(message)
            case ItemRetrieve(item_id=name):
                await self._send("conversation.item.retrieved", {"item": self._conversation.find(name).to_json()})
            case ItemDelete(item_id=name):
                self._conversation.remove(name)
                await self._send("conversation.item.deleted", {"item_id": name})
            case ResponseCreate():
                await self._respond(message)
            case ResponseCancel():
                self._cancel(message.response_id)

    async def _update(self, message: SessionUpdate) -> None:
        if message.session.instructions is not None:
            self._instructions = message.session.instructions
        self._most_tokens = n_tokens(message.session.max_output_tokens, self._most_tokens)
        await self._send("session.updated", {"session": self._session_json()})

    async def _add(self, message: ItemCreate) -> None:
        item = Item.of(message.item)
        self._conversation.check_new(item.name)
        for part in message.item.content:
            if isinstance(part, ImageContent):
                await self._pictures.show(await self._session(), part)
        about = {"previous_item_id": self._conversation.add(item), "item": item.to_json()}
        await self._send("conversation.item.added", about)
        await self._send("conversation.item.done", about)

    async def _respond(self, message: ResponseCreate) -> None:
        param = message.response
        is_of_conversation = param.conversation == "auto"
        if is_of_conversation and any(each.is_of_conversation for each in self._running.values()):
            told = "a response is being given; wait for response.done, cancel it, or say conversation: none"
            raise ApiError(409, "conversation_already_has_active_response", told)
        dialogue = dialogue_of(self._said(param))
        most_tokens = n_tokens(param.max_output_tokens, self._most_tokens)
        ask = ask_of(dialogue.question, most_tokens, param)
        asked = Followed(self._server.asker.ask(await self._session(), self._owner, ask, dialogue.turns))
        response = Response(
            self._send,
            self._conversation if is_of_conversation else None,
            {"metadata": param.metadata, "max_output_tokens": most_tokens},
        )
        task = asyncio.create_task(self._follow(response, asked, message.event_id))
        self._running[response.name] = _Running(response, asked, task)

    async def _follow(self, response: Response, asked: Followed[dict[str, Any]], event_id: str | None) -> None:
        try:
            await response.run({"session_id": self._live.name, **event} async for event in asked)
        except Exception as error:  # whatever it is, it is the client's to know
            await self._send_error(error, event_id)
        finally:
            del self._running[response.name]

    async def _session(self) -> LiveSession:
        """The one that has its name now: it may have been put away meanwhile, or been rebuilt."""
        self._live = await self._server.hub.find(self._live.name, self._owner)
        return self._live

    def _said(self, param: ResponseParam) -> list[Said]:
        """All that a response is given from. Instructions of its own are its question where nothing else is asked."""
        said = list(self._conversation.said)
        if param.input is not None:
            said = [Item.of(item).said for item in param.input]
        own = param.instructions
        if own and not (said and said[-1].role == "user" and said[-1].text.strip()):
            return [Said("system", self._instructions), *said, Said("user", own)]
        return [Said("system", self._instructions if own is None else own), *said]

    def _cancel(self, name: str | None) -> None:
        wanted = [
            each
            for each in self._running.values()
            if (each.is_of_conversation if name is None else each.response.name == name)
        ]
        if not wanted:
            raise ApiError(400, "response_cancel_not_active", "no such response is being given", "response_id")
        for each in wanted:
            each.asked.cancel()

    def _session_json(self) -> dict[str, Any]:
        return {
            "id": self._live.name,
            "object": "realtime.session",
            "type": "realtime",
            "model": self._live.engine.model.name,
            "instructions": self._instructions,
            "max_output_tokens": self._most_tokens,
            "output_modalities": ["text"],
            "tools": [],
            "tool_choice": "none",
            "hermes": self._live.to_json(),
        }

    async def _send_error(self, error: Exception, event_id: str | None) -> None:
        problem = problem_of(error)
        about = {**problem.body()["error"], "event_id": event_id}
        await self._send("error", {"error": about})

    async def _send(self, kind: str, fields: dict[str, Any]) -> None:
        event = {"type": kind, "event_id": new_name("event"), **fields}
        async with self._sending:
            # Who has gone is not told anything; reading from them ends the connection.
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._websocket.send_text(json.dumps(event, ensure_ascii=False))


def _json_of(received: Any) -> dict[str, Any]:
    """Raises ApiError for what is no JSON object."""
    text = received.get("text")
    if text is None:
        raise ApiError(400, "invalid_json", "binary messages are not understood here; send events as JSON text")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", f"the message is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ApiError(400, "invalid_json", "the message is not a JSON object; send an event with its type")
    return fields
