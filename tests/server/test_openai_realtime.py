"""`WS /v1/realtime` with OpenAI's own clients against a real server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection, RealtimeConnection
from websockets.exceptions import InvalidStatus

from hermes_stream.shapestream.grade import is_right

from .conftest import RunningServer
from .openai_clients import MODEL, async_client_of, client_of, connected, show
from .shape_clips import SECONDS, clip

WAIT_SECONDS = 20.0
# One that goes on for long; see `test_openai_sessions`.
AT_LENGTH: Any = {"temperature": 10, "seed": 159, "max_output_tokens": "inf"}
RESPONSE = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server.address) as client:
        yield client


@pytest.fixture
def plain(server: RunningServer) -> httpx2.Client:
    return server.http


@pytest.fixture
def connection(client: openai.OpenAI) -> Iterator[RealtimeConnection]:
    """With a session of its own; what the server says first is read."""
    with connected(client) as connection:
        assert connection.recv().type == "session.created"
        yield connection


def text_item(text: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def image_item(url: str, **more: Any) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url, **more}]}


def say(connection: RealtimeConnection, item: Any) -> Any:
    """Create an item; returns its `conversation.item.done`."""
    connection.conversation.item.create(item=item)
    assert connection.recv().type == "conversation.item.added"
    done = connection.recv()
    assert done.type == "conversation.item.done"
    return done


def respond(connection: RealtimeConnection, **response: Any) -> list[Any]:
    """All events of a response."""
    connection.response.create(response=response)  # type: ignore[arg-type]
    events: list[Any] = []
    while not events or events[-1].type not in ("response.done", "error"):
        events.append(connection.recv())
    return events


def ask(connection: RealtimeConnection, question: str, **response: Any) -> str:
    say(connection, text_item(question))
    return text_of(respond(connection, **response)[-1])


def text_of(done: Any) -> str:
    assert done.type == "response.done", done
    text: str = done.response.output[0].content[0].text
    return text


def names(plain: httpx2.Client) -> set[str]:
    return {each["id"] for each in plain.get("/v1/sessions").json()["data"]}


def test_pictures_and_a_question_are_answered_right(connection: RealtimeConnection) -> None:
    for uri in clip().picture_uris:
        say(connection, image_item(uri))
    for question, truth in clip().truths.items():
        # Each for itself: the model was not trained on dialogues.
        text = text_of(respond(connection, conversation="none", input=[text_item(question)])[-1])
        assert is_right(text, truth), question


def test_a_response_comes_in_the_order_that_clients_expect(connection: RealtimeConnection) -> None:
    item = say(connection, text_item("Is there more than one?"))
    events = respond(connection)
    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == RESPONSE
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    by_kind = {event.type: event for event in events}
    done = by_kind["response.done"].response
    assert "".join(deltas) == by_kind["response.output_text.done"].text == text_of(events[-1])
    assert by_kind["conversation.item.added"].previous_item_id == item.item.id
    assert {event.response_id for event in events if hasattr(event, "response_id")} == {done.id}
    assert (by_kind["response.created"].response.status, done.status) == ("in_progress", "completed")
    assert len({event.event_id for event in events}) == len(events)


def test_usage_counts_what_was_read_and_written(connection: RealtimeConnection) -> None:
    say(connection, text_item("Which room is this?"))
    usage = respond(connection)[-1].response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.output_tokens == 2


def test_an_answer_that_had_to_end_is_incomplete(connection: RealtimeConnection) -> None:
    for uri in clip().picture_uris:
        say(connection, image_item(uri))
    say(connection, text_item("What object is visible now?"))
    done = respond(connection, max_output_tokens=1)[-1].response
    assert (done.status, done.status_details.reason) == ("incomplete", "max_output_tokens")
    assert done.output[0].content[0].text == "yellow"


def test_what_was_said_before_is_remembered(connection: RealtimeConnection) -> None:
    first, second = "Which room is this?", "What color is the object?"
    say(connection, text_item(second))
    alone = respond(connection, conversation="none")[-1].response.usage.input_tokens
    # What was asked out of band is no part of the conversation, but its question still is.
    answer = respond(connection)[-1].response
    say(connection, text_item(first))
    with_turn = respond(connection)[-1].response.usage.input_tokens
    say(connection, text_item(second))
    with_two = respond(connection)[-1].response.usage.input_tokens
    assert answer.usage.input_tokens == alone
    assert alone < with_turn < with_two


def test_items_can_be_looked_at_and_taken_back(connection: RealtimeConnection) -> None:
    say(connection, text_item("Which room is this?"))
    alone = respond(connection, conversation="none")[-1].response.usage.input_tokens
    item = say(connection, text_item("What color is the object?")).item
    connection.conversation.item.retrieve(item_id=item.id)
    retrieved: Any = connection.recv()
    assert (retrieved.type, retrieved.item.content[0].text) == (
        "conversation.item.retrieved",
        "What color is the object?",
    )
    connection.conversation.item.delete(item_id=item.id)
    assert connection.recv().type == "conversation.item.deleted"
    assert respond(connection)[-1].response.usage.input_tokens == alone


def test_instructions_stand_before_each_question(connection: RealtimeConnection) -> None:
    say(connection, text_item("Which room is this?"))
    before = respond(connection, conversation="none")[-1].response.usage.input_tokens
    audio: Any = {"output": {"voice": "marin"}}
    connection.session.update(session={"type": "realtime", "instructions": "Answer in one word.", "audio": audio})
    updated: Any = connection.recv()
    assert (updated.type, updated.session.instructions) == ("session.updated", "Answer in one word.")
    assert updated.session.output_modalities == ["text"]
    with_them = respond(connection, conversation="none")[-1].response.usage.input_tokens
    without = respond(connection, conversation="none", instructions="")[-1].response.usage.input_tokens
    assert without == before < with_them


def test_instructions_alone_are_a_question(connection: RealtimeConnection) -> None:
    for uri in clip().picture_uris:
        say(connection, image_item(uri))
    assert text_of(respond(connection, instructions="What color is the object?")[-1]) == "yellow"


def test_a_session_that_is_there_can_be_asked_by_several_connections(
    client: openai.OpenAI, plain: httpx2.Client, session: str
) -> None:
    show(client, session, clip().picture_uris)
    with connected(client, session_id=session) as one, connected(client, session_id=session) as other:
        for connection in (one, other):
            created: Any = connection.recv()
            assert created.session.hermes["frames_seen"] == SECONDS
        for connection in (one, other):
            connection.conversation.item.create(item=text_item("What object is visible now?"))
            connection.response.create()
        for connection in (one, other):
            while (event := connection.recv()).type != "response.done":
                pass
            assert text_of(event) == "yellow triangle"
    assert session in names(plain)


def test_only_one_connection_shows_pictures_to_a_session(
    client: openai.OpenAI, plain: httpx2.Client, session: str
) -> None:
    with connected(client, session_id=session) as one, connected(client, session_id=session) as other:
        for connection in (one, other):
            connection.recv()
        say(one, image_item(clip().picture_uris[0]))
        other.conversation.item.create(item=image_item(clip().picture_uris[1]), event_id="mine")
        event: Any = other.recv()
        assert (event.type, event.error.code, event.error.event_id) == ("error", "already_fed", "mine")
        assert ask(other, "Which room is this?")
    assert plain.get(f"/v1/sessions/{session}").json()["frames_seen"] == 1


def test_pictures_have_the_times_that_the_client_gives_or_those_of_their_arrival(
    client: openai.OpenAI, plain: httpx2.Client, session: str
) -> None:
    with connected(client, session_id=session) as connection:
        connection.recv()
        for seconds in (0.5, 2.0):
            say(connection, image_item(clip().picture_uris[0], time_s=seconds))
            assert plain.get(f"/v1/sessions/{session}").json()["time_s"] == seconds
        connection.conversation.item.create(item=image_item(clip().picture_uris[0], time_s=1.0))
        event: Any = connection.recv()
        assert event.type == "error"
        assert "times never fall" in event.error.message
        say(connection, image_item(clip().picture_uris[0]))
        arrived = plain.get(f"/v1/sessions/{session}").json()
    assert 2.0 <= arrived["time_s"] < WAIT_SECONDS
    assert arrived["frames_seen"] == 3


def test_a_session_of_its_own_ends_with_the_connection(client: openai.OpenAI, plain: httpx2.Client) -> None:
    before = names(plain)
    with connected(client, memory="keep-all") as connection:
        created: Any = connection.recv()
        say(connection, image_item(clip().picture_uris[0]))
        assert names(plain) - before == {created.session.id}
        assert created.session.hermes["memory"] == "keep-all"
    until = time.monotonic() + WAIT_SECONDS
    while names(plain) != before:
        assert time.monotonic() < until
    assert plain.get(f"/v1/sessions/{created.session.id}").status_code == 404


def test_a_client_that_breaks_off_amid_a_response_leaves_nothing(client: openai.OpenAI, plain: httpx2.Client) -> None:
    before = names(plain)
    with connected(client) as connection:
        connection.conversation.item.create(item=text_item("What color is the object?"))
        connection.response.create(response=AT_LENGTH)
        while connection.recv().type != "response.output_text.delta":
            pass
        # As when a machine goes down: without a closing handshake.
        connection._connection.socket.shutdown(socket.SHUT_RDWR)
    until = time.monotonic() + WAIT_SECONDS
    while names(plain) != before:
        assert time.monotonic() < until


def test_a_response_can_be_cancelled(connection: RealtimeConnection) -> None:
    say(connection, text_item("What color is the object?"))
    connection.response.create(response=AT_LENGTH)
    while connection.recv().type != "response.output_text.delta":
        pass
    connection.response.cancel()
    while (event := connection.recv()).type != "response.done":
        pass
    done: Any = event
    assert (done.response.status, done.response.status_details.reason) == ("cancelled", "client_cancelled")
    assert ask(connection, "Which room is this?")


def test_a_response_that_is_cancelled_at_once_ends_as_cancelled(connection: RealtimeConnection) -> None:
    for _ in range(5):
        connection.conversation.item.create(item=text_item("What color is the object?"))
        connection.response.create(response=AT_LENGTH)
        connection.response.cancel()
        while (event := connection.recv()).type != "response.done":
            assert event.type != "error", event
        done: Any = event
        assert done.response.status == "cancelled"


def test_one_response_at_a_time_writes_to_the_conversation(connection: RealtimeConnection) -> None:
    say(connection, text_item("What color is the object?"))
    connection.response.create(response=AT_LENGTH)
    while connection.recv().type != "response.output_text.delta":
        pass
    connection.response.create()
    while (event := connection.recv()).type == "response.output_text.delta":
        pass
    refused: Any = event
    assert refused.error.code == "conversation_already_has_active_response"
    aside: Any = {"conversation": "none", "input": [text_item("Which room is this?")], "metadata": {"topic": "room"}}
    connection.response.create(response=aside)
    while (event := connection.recv()).type != "response.done":
        pass
    done: Any = event
    assert done.response.metadata == {"topic": "room"}
    assert done.response.status == "completed"


def test_several_clients_at_once_are_answered_each_about_its_own_pictures(server: RunningServer) -> None:
    seeds = (900_302, 900_304, 900_305)

    async def ask_about(client: openai.AsyncOpenAI, seed: int) -> str:
        async with client.realtime.connect(model=MODEL) as connection:
            for uri in clip(seed).picture_uris:
                await connection.conversation.item.create(item=image_item(uri))
            await connection.conversation.item.create(item=text_item("What object is visible now?"))
            await connection.response.create()
            return text_of(await done_of(connection))

    async def ask_all() -> list[str]:
        async with async_client_of(server.address) as client:
            return list(await asyncio.gather(*(ask_about(client, seed) for seed in seeds)))

    assert asyncio.run(ask_all()) == [clip(seed).truths["What object is visible now?"] for seed in seeds]


async def done_of(connection: AsyncRealtimeConnection) -> Any:
    async for event in connection:
        assert event.type != "error", event
        if event.type == "response.done":
            return event
    raise AssertionError("the connection ended")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "surprise"}, "unknown_event"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "unknown_event"),
        ({"type": ["session.update"]}, "unknown_event"),
        ({"type": "response.cancel"}, "response_cancel_not_active"),
        ({"type": "response.create"}, "invalid_request"),
        ({"type": "response.create", "response": {"temperature": 99}}, "invalid_request"),
        ({"type": "response.create", "response": {"tools": [{"type": "function"}]}}, "invalid_request"),
        ({"type": "conversation.item.create", "item": {"type": "function_call", "name": "x"}}, "invalid_request"),
        ({"type": "conversation.item.create", "item": image_item("data:image/png;base64,AAAA")}, "invalid_request"),
        ({"type": "conversation.item.create", "item": image_item("http://example.org/a.png")}, "invalid_request"),
        ({"type": "conversation.item.delete", "item_id": "nothing"}, "not_found"),
        ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_request"),
    ],
    ids=range(12),
)
def test_what_cannot_be_done_is_an_error_event_and_the_connection_goes_on(
    connection: RealtimeConnection, message: dict[str, Any], code: str
) -> None:
    connection.send({**message, "event_id": "event_of_mine"})  # type: ignore[misc, arg-type]
    event: Any = connection.recv()
    assert (event.type, event.error.code, event.error.event_id) == ("error", code, "event_of_mine")
    assert "\n" not in event.error.message
    assert ask(connection, "Which room is this?")


@pytest.mark.parametrize("message", ["", "{", "[]", "3", b"\x00\x01", "[" * 100_000], ids=range(6))
def test_what_is_no_json_object_is_an_error_event_and_the_connection_goes_on(
    connection: RealtimeConnection, message: str | bytes
) -> None:
    connection.send_raw(message)
    event: Any = connection.recv()
    assert (event.type, event.error.code) == ("error", "invalid_json")
    assert ask(connection, "Which room is this?")


def test_an_answer_that_fails_is_a_failed_response(connection: RealtimeConnection) -> None:
    say(connection, text_item("red " * 3000))
    connection.response.create()
    events = [connection.recv()]
    while events[-1].type not in ("response.done", "error"):
        events.append(connection.recv())
    done: Any = events[-1]
    assert (done.response.status, done.response.status_details.error.code) == ("failed", "context_length_exceeded")


@pytest.mark.parametrize(
    ("model", "query", "status"),
    [
        ("gpt-realtime", {}, 404),
        (MODEL, {"session_id": "nowhere"}, 404),
        (MODEL, {"budget": "much"}, 400),
        (MODEL, {"memory": "no-such-memory"}, 400),
    ],
)
def test_a_session_that_cannot_be_is_refused_before_the_connection(
    client: openai.OpenAI, model: str, query: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught, connected(client, model, **query):
        pass
    assert caught.value.response.status_code == status
