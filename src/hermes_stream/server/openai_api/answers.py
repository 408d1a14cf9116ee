"""From a chat request to the events of its answer, of a session or of one that lives no longer than the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

from hermes_stream.server.context import Server
from hermes_stream.server.following import on_own_thread
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.openai_api.asking import ask_of
from hermes_stream.server.openai_api.chat_request import ChatRequest
from hermes_stream.server.openai_api.dialogue import dialogue_of
from hermes_stream.server.openai_api.media import MediaReader
from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import SessionSpec

_DONE = "response.text.done"


async def answer(server: Server, owner: str, chat: ChatRequest) -> AsyncIterator[dict[str, Any]]:
    """Events as of `Asker.ask`; the last one has `session_id`, and `n_prompt_tokens` are all that the request gave the
    model to read.

    Closing the iterator cancels the answer. Raises ApiError where a limit is reached, HermesError for what cannot be
    shown, asked or answered.
    """
    dialogue = dialogue_of(chat.said)
    ask = ask_of(dialogue.question, chat.n_tokens, chat)
    if chat.session_id is not None:
        live = await server.hub.find(chat.session_id, owner)
        check_model(server.hub, chat.model, live)
        async for event in server.asker.ask(live, owner, ask, dialogue.turns):
            yield event | {"session_id": live.name}
        return
    server.asker.check_rate(owner)
    async with passing_session(server.hub, chat.to_spec(), owner) as live:
        await _show(server, live, chat)
        async for event in server.asker.ask(live, owner, ask, dialogue.turns):
            yield _of_a_passing(event, live)


@asynccontextmanager
async def passing_session(hub: Hub, spec: SessionSpec, owner: str) -> AsyncIterator[LiveSession]:
    """A session that ends with the block, and of which nothing stays."""
    live = await hub.open(spec, owner, is_kept=False)
    try:
        yield live
    finally:
        await hub.close(live)


def check_model(hub: Hub, model: str, live: LiveSession) -> None:
    """Raises ApiError where a model is not the one of a session."""
    hub.engine(model)
    if model != live.engine.model.name:
        told = f"session {live.name} is watched by {live.engine.model.name}, not by {model}; name that model"
        raise ApiError(400, "invalid_request", told, "model")


async def _show(server: Server, live: LiveSession, chat: ChatRequest) -> None:
    """Put all pictures and videos of a request into its session."""
    with closing(MediaReader(server.settings.limits, server.sources, server.decoding)) as reader:
        frames = reader.frames(chat.media, live.fps)
        await on_own_thread(lambda: live.session.watch(frames))


def _of_a_passing(event: dict[str, Any], live: LiveSession) -> dict[str, Any]:
    if event["type"] != _DONE:
        return event
    n_shown = live.engine.model.prefix_tokens + live.session.stats.tokens_seen
    # Its pictures go with it.
    evidence = [{"time_s": each["time_s"], "weight": each["weight"]} for each in event["evidence"]]
    return event | {"n_prompt_tokens": event["n_prompt_tokens"] + n_shown, "evidence": evidence}
