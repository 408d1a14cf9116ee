"""One response of a realtime connection: from the events of an answer to those that OpenAI's clients wait for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from hermes_stream.server.openai_api.completion import extras, trimmed
from hermes_stream.server.openai_api.conversation import Conversation, Item, new_name
from hermes_stream.server.problems import problem_of

Send = Callable[[str, dict[str, Any]], Awaitable[None]]


@dataclass
class Response:
    """What becomes of one `response.create`.

    conversation: where the answer is kept; None keeps it nowhere. about: what each of its events says of it.
    before: the item before its own.
    """

    send: Send
    conversation: Conversation | None
    about: dict[str, Any] = field(default_factory=dict)
    name: str = field(default_factory=lambda: new_name("resp"))
    before: str | None = None
    item: Item = field(default_factory=lambda: Item(new_name("item"), "assistant", status="in_progress"))

    async def run(self, events: AsyncGenerator[dict[str, Any], None]) -> None:
        """Tell how an answer comes, from its first event to `response.done`.

        Raises what is wrong with the question before anything was told; later problems are told as a failed response.
        """
        # None where it is cancelled before it begins.
        await anext(events, None)
        await self._begin()
        done: dict[str, Any] | None = None
        try:
            async for event in trimmed(events):
                if event["type"] == "response.text.delta":
                    self.item.text += event["delta"]
                    await self._tell("response.output_text.delta", **self._part, delta=event["delta"])
                else:
                    done = event
        except Exception as error:  # the response has begun: its end says what went wrong
            await self._end("failed", _failure(error))
            return
        if done is None:
            await self._end("cancelled", {"type": "cancelled", "reason": "client_cancelled"})
        elif done["finish_reason"] == "length":
            await self._end("incomplete", {"type": "incomplete", "reason": "max_output_tokens"}, done)
        else:
            await self._end("completed", None, done)

    @property
    def _place(self) -> dict[str, Any]:
        return {"response_id": self.name, "output_index": 0}

    @property
    def _part(self) -> dict[str, Any]:
        return {**self._place, "item_id": self.item.name, "content_index": 0}

    async def _begin(self) -> None:
        await self._tell("response.created", response=self._json("in_progress"))
        await self._tell("response.output_item.added", **self._place, item=self.item.to_json())
        if self.conversation is not None:
            self.before = self.conversation.add(self.item)
            await self._tell("conversation.item.added", previous_item_id=self.before, item=self.item.to_json())
        await self._tell("response.content_part.added", **self._part, part={"type": "text", "text": ""})

    async def _end(self, status: str, details: dict[str, Any] | None, done: dict[str, Any] | None = None) -> None:
        self.item.status = "completed" if status == "completed" else "incomplete"
        if self.conversation is not None and done is None and not self.item.text:
            # The question is open as before.
            self.conversation.discard(self.item.name)
        text = self.item.text
        await self._tell("response.output_text.done", **self._part, text=text)
        await self._tell("response.content_part.done", **self._part, part={"type": "text", "text": text})
        await self._tell("response.output_item.done", **self._place, item=self.item.to_json())
        if self.conversation is not None:
            await self._tell("conversation.item.done", previous_item_id=self.before, item=self.item.to_json())
        await self._tell("response.done", response=self._json(status, details, done))

    async def _tell(self, kind: str, **fields: Any) -> None:
        await self.send(kind, fields)

    def _json(
        self, status: str, details: dict[str, Any] | None = None, done: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return {
            "id": self.name,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": [] if status == "in_progress" else [self.item.to_json()],
            "output_modalities": ["text"],
            "usage": None if done is None else _usage(done),
            "hermes": None if done is None else extras(done),
            **self.about,
        }


def _usage(done: dict[str, Any]) -> dict[str, Any]:
    n_read, n_written = done["n_prompt_tokens"], done["n_tokens"]
    return {"input_tokens": n_read, "output_tokens": n_written, "total_tokens": n_read + n_written}


def _failure(error: Exception) -> dict[str, Any]:
    problem = problem_of(error)
    return {"type": "failed", "error": {"type": problem.kind, "code": problem.code, "message": problem.message}}
