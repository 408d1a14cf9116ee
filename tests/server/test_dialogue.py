"""Messages as turns and a question; and answers as pieces that make up their text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.server.openai_api.completion import trimmed
from hermes_stream.server.openai_api.dialogue import Dialogue, Role, Said, dialogue_of
from hermes_stream.server.problems import ApiError
from hermes_stream.types import Turn

WORDS = st.text("ab", min_size=1, max_size=3)
SEVERAL = st.lists(WORDS, min_size=1, max_size=3)


@given(st.lists(st.tuples(SEVERAL, SEVERAL), max_size=3), SEVERAL, st.lists(WORDS, max_size=2), st.integers(0, 8))
def test_messages_are_taken_apart_into_what_they_were_put_together_from(
    turns: list[tuple[list[str], list[str]]], question: list[str], orders: list[str], place: int
) -> None:
    messages: list[Said] = []
    for asked, answered in turns:
        messages += [Said("user", text) for text in asked] + [Said("assistant", text) for text in answered]
    messages += [Said("user", text) for text in question]
    # Wherever the system speaks, it cuts nothing in two.
    messages[place:place] = [Said("system", text) for text in orders]
    expected = tuple(Turn("\n".join(asked), "\n".join(answered)) for asked, answered in turns)
    assert dialogue_of(messages) == Dialogue(expected, "\n".join([*orders, *question]))


@pytest.mark.parametrize(
    "roles",
    [(), ("system",), ("assistant",), ("assistant", "user"), ("user", "assistant"), ("user", "assistant", "system")],
)
def test_where_nothing_is_asked_or_nobody_began_it_is_refused(roles: tuple[Role, ...]) -> None:
    with pytest.raises(ApiError) as caught:
        dialogue_of([Said(role, "x") for role in roles])
    assert (caught.value.status, caught.value.param) == (400, "messages")


def test_messages_without_words_ask_nothing() -> None:
    with pytest.raises(ApiError, match="nothing is asked"):
        dialogue_of([Said("system", "Be brief."), Said("user", " \n")])


@given(st.lists(st.text(" \nab", max_size=4), max_size=8))
def test_pieces_make_up_the_text_without_space_around_it(pieces: list[str]) -> None:
    async def events() -> AsyncIterator[dict[str, Any]]:
        for piece in pieces:
            yield {"type": "response.text.delta", "delta": piece}
        yield {"type": "response.text.done"}

    async def told() -> list[dict[str, Any]]:
        return [event async for event in trimmed(events())]

    *shown, last = asyncio.run(told())
    assert last == {"type": "response.text.done"}
    assert "".join(event["delta"] for event in shown) == "".join(pieces).strip()
    assert all(event["delta"] for event in shown)
