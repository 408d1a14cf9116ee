"""The shapes in which OpenAI's clients read an answer: whole, or in chunks."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi.sse import format_sse_event

from hermes_stream.server.problems import problem_of

_T = TypeVar("_T")
# What our own API says of an answer beside its text; it comes along under `hermes`.
_OURS = ("session_id", "time_s", "ttft_ms", "total_ms", "frames_seen", "memory_bytes", "evidence", "as_of")


def completion(model: str, done: dict[str, Any]) -> dict[str, Any]:
    """A `chat.completion`. done: the last event of an answer."""
    message = {"role": "assistant", "content": done["text"], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done["finish_reason"]}
    return _head(model, done["id"], "chat.completion") | {
        "choices": [choice],
        "usage": usage(done),
        "hermes": extras(done),
    }


async def chunks(
    model: str,
    start: dict[str, Any],
    first: dict[str, Any],
    events: AsyncIterator[dict[str, Any]],
    *,
    with_usage: bool,
) -> AsyncIterator[bytes]:
    """The server-sent events of a stream. start, first, events: of an answer."""
    head = _head(model, start["id"], "chat.completion.chunk")
    if with_usage:
        head["usage"] = None
    yield _sent(head | {"choices": [_choice({"role": "assistant", "content": "", "refusal": None})]})
    try:
        async for event in trimmed(_chained(first, events)):
            if event["type"] == "response.text.delta":
                yield _sent(head | {"choices": [_choice({"content": event["delta"]})]})
                continue
            yield _sent(head | {"choices": [_choice({}, event["finish_reason"])], "hermes": extras(event)})
            if with_usage:
                yield _sent(head | {"choices": [], "usage": usage(event)})
    except Exception as error:  # the status is sent already
        yield _sent(problem_of(error).body())
    yield format_sse_event(data_str="[DONE]")


async def _chained(first: _T, rest: AsyncIterator[_T]) -> AsyncIterator[_T]:
    yield first
    async for item in rest:
        yield item


async def trimmed(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """The events of an answer whose pieces make up its text exactly: no space before the first word and behind the
    last.
    """
    has_begun, space = False, ""
    async for event in events:
        if event["type"] != "response.text.delta":
            yield event
            continue
        text = space + event["delta"]
        text = text if has_begun else text.lstrip()
        shown = text.rstrip()
        space = text[len(shown) :]
        if shown:
            has_begun = True
            yield event | {"delta": shown}


def usage(done: dict[str, Any]) -> dict[str, Any]:
    """Tokens that were read and written for an answer."""
    n_read, n_written = done["n_prompt_tokens"], done["n_tokens"]
    return {"prompt_tokens": n_read, "completion_tokens": n_written, "total_tokens": n_read + n_written}


def extras(done: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's API has no place for."""
    return {name: done.get(name) for name in _OURS}


def _head(model: str, name: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{name}", "object": kind, "created": int(time.time()), "model": model}


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _sent(chunk: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(chunk, ensure_ascii=False))
