"""Unmodified OpenAI clients of a server, and messages as they send them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from openai.resources.realtime.realtime import RealtimeConnectionManager

MODEL = "tiny-llava-onevision"


@contextmanager
def client_of(address: str, key: str = "any") -> Iterator[openai.OpenAI]:
    """Without retries, so that each test sees what it asked for."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=60) as client:
        yield client


def async_client_of(address: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=60)


def about_video(url: str, question: str) -> list[Any]:
    """One message with a video and a question."""
    return [user({"type": "video_url", "video_url": {"url": url}}, question)]


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    """A message of the user; texts may be given as they are."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def connected(client: openai.OpenAI, model: str = MODEL, **query: str) -> RealtimeConnectionManager:
    """A realtime connection, to be entered."""
    # websockets warns of the way in which openai 3.57 calls it, unless told that this is known.
    return client.realtime.connect(model=model, extra_query=dict(query), websocket_connection_options={"legacy": True})


def show(client: openai.OpenAI, session: str, uris: list[str], *, first_seconds: float = 0.0) -> None:
    """Pictures into a session, one a second of its time."""
    with connected(client, session_id=session) as connection:
        for number, uri in enumerate(uris):
            part: Any = {"type": "input_image", "image_url": uri, "time_s": first_seconds + number}
            connection.conversation.item.create(item={"type": "message", "role": "user", "content": [part]})
        n_in = 0
        while n_in < len(uris):
            event = connection.recv()
            assert event.type != "error", event
            n_in += event.type == "conversation.item.done"
