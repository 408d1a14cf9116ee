"""The items of a realtime connection: what was said over it, in order."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hermes_stream.server.openai_api.dialogue import Role, Said
from hermes_stream.server.openai_api.realtime_messages import ItemParam, TextContent
from hermes_stream.server.problems import ApiError, not_found

_N_NAME_BYTES = 10


def new_name(kind: str) -> str:
    """A name that nothing else has, as in "item_3f..."."""
    return f"{kind}_{secrets.token_hex(_N_NAME_BYTES)}"


@dataclass(slots=True)
class Item:
    """Something said or shown. status: "in_progress" as long as an answer is being given, "incomplete" if it broke off.

    n_images: pictures that came with it; they are in the stream, not here.
    """

    name: str
    role: Role
    text: str = ""
    n_images: int = 0
    status: str = "completed"

    @staticmethod
    def of(param: ItemParam) -> Item:
        """What a client created. Raises ApiError for a picture that is not the user's."""
        texts = [part.text for part in param.content if isinstance(part, TextContent)]
        n_images = len(param.content) - len(texts)
        if n_images and param.role != "user":
            told = f"item.content: an item of the {param.role} may hold texts only"
            raise ApiError(400, "invalid_request", told, "item.content")
        return Item(param.id or new_name("item"), param.role, "\n".join(texts), n_images)

    @property
    def said(self) -> Said:
        return Said(self.role, self.text)

    def to_json(self) -> dict[str, Any]:
        """As OpenAI's types have it. Pictures are named, not sent back."""
        kind = "output_text" if self.role == "assistant" else "input_text"
        texts = [{"type": kind, "text": self.text}] if self.text else []
        return {
            "id": self.name,
            "object": "realtime.item",
            "type": "message",
            "status": self.status,
            "role": self.role,
            "content": [{"type": "input_image"}] * self.n_images + texts,
        }


class Conversation:
    """Items by name, oldest first."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    @property
    def said(self) -> Sequence[Said]:
        """What a model is told of it."""
        return [item.said for item in self._items.values()]

    def check_new(self, name: str) -> None:
        """Raises ApiError for the name of an item that is there already."""
        if name in self._items:
            raise ApiError(400, "item_exists", f"there is an item {name!r} already; name it otherwise", "item.id")

    def add(self, item: Item) -> str | None:
        """Append an item; returns the name of the one before."""
        before = next(reversed(self._items), None)
        self._items[item.name] = item
        return before

    def find(self, name: str) -> Item:
        """Raises ApiError where there is none."""
        if name not in self._items:
            raise not_found("item", name)
        return self._items[name]

    def discard(self, name: str) -> None:
        """An item goes, if it is there."""
        self._items.pop(name, None)

    def remove(self, name: str) -> None:
        """Raises ApiError where there is none, or pictures came with it."""
        if self.find(name).n_images:
            told = f"the pictures of item {name!r} are in the stream; POST /v1/sessions/{{id}}/forget deletes them"
            raise ApiError(400, "invalid_request", told, "item_id")
        del self._items[name]
