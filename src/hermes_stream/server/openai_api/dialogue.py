"""What was said so far, as a model is asked it: turns that are over, and the question that is open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from hermes_stream.server.problems import ApiError
from hermes_stream.types import Turn

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Said:
    """The texts of one message."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """turns: answered, oldest first. question: what nobody has answered yet, instructions before it."""

    turns: tuple[Turn, ...]
    question: str


def dialogue_of(messages: Sequence[Said]) -> Dialogue:
    """Messages in their order as turns and a question.

    What the user says in several messages is one question, what the assistant says in several one answer. What the
    system says stands before the question: the model's own system prompt was read when the stream began.
    Raises ApiError where nothing is asked, or the assistant speaks first.
    """
    spoken = [message for message in messages if message.role != "system"]
    groups = [(role, _joined(group)) for role, group in groupby(spoken, key=lambda message: message.role)]
    if groups and groups[0][0] == "assistant":
        raise _refusal("the assistant speaks first; begin with a message of the user")
    texts = [text for _, text in groups]
    question = texts.pop() if len(texts) % 2 else ""
    if not question:
        raise _refusal("nothing is asked; end with a text of the user")
    turns = tuple(Turn(asked, answered) for asked, answered in zip(texts[::2], texts[1::2], strict=True))
    orders = [message for message in messages if message.role == "system"]
    return Dialogue(turns, _joined([*orders, Said("user", question)]))


def _joined(messages: Iterable[Said]) -> str:
    return "\n".join(message.text.strip() for message in messages if message.text.strip())


def _refusal(told: str) -> ApiError:
    return ApiError(400, "invalid_request", f"messages: {told}", "messages")
