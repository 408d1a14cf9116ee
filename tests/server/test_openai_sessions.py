"""OpenAI's clients and sessions: questions to a stream that goes on, and a memory that none of it changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from safetensors import safe_open

from hermes_stream.shapestream.grade import is_right

from .conftest import RunningServer
from .openai_clients import MODEL, about_video, async_client_of, client_of, connected, image, show, user
from .shape_clips import SECONDS, clip

# At this temperature hardly any token is likelier than another; with this seed 458 come before the one that ends it.
AT_LENGTH: dict[str, Any] = {"temperature": 10, "max_tokens": 1500, "seed": 159}
CANCELLED = {"outcome": "cancelled"}
_WAIT_SECONDS = 20.0


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server.address) as client:
        yield client


@pytest.fixture
def plain(server: RunningServer) -> httpx2.Client:
    return server.http


@pytest.fixture
def session(session: str, client: openai.OpenAI) -> str:
    """A session that has seen the clip, a picture a second."""
    show(client, session, clip().picture_uris)
    return session


def journal(plain: httpx2.Client, session: str, kind: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = plain.get(f"/v1/sessions/{session}/journal", params={"kind": kind}).json()["data"]
    return entries


def memory(plain: httpx2.Client, session: str, folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor that the session holds."""
    path = folder / "memory.safetensors"
    path.write_bytes(plain.get(f"/v1/sessions/{session}/snapshot").content)
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_a_session_is_asked_about_what_it_has_seen(client: openai.OpenAI, session: str) -> None:
    for question, truth in clip().truths.items():
        done = client.chat.completions.create(
            model=MODEL, messages=[user(question)], extra_body={"session_id": session}
        )
        assert is_right(done.choices[0].message.content or "", truth), question
        assert done.hermes["session_id"] == session
        assert done.hermes["time_s"] == SECONDS - 1
        assert done.hermes["frames_seen"] == SECONDS


def test_answers_follow_a_session_that_is_being_fed(client: openai.OpenAI, session: str) -> None:
    for round_, seed in enumerate((900_302, 900_304), start=1):
        show(client, session, clip(seed).picture_uris, first_seconds=round_ * SECONDS)
        done = client.chat.completions.create(
            model=MODEL, messages=[user("What object is visible now?")], extra_body={"session_id": session}
        )
        assert done.choices[0].message.content == clip(seed).truths["What object is visible now?"]
        assert done.hermes["time_s"] == (round_ + 1) * SECONDS - 1


def test_a_stream_of_a_session_says_what_the_whole_answer_says(client: openai.OpenAI, session: str) -> None:
    for question in clip().truths:
        asked: dict[str, Any] = {
            "model": MODEL,
            "messages": [user(question)],
            "extra_body": {"session_id": session},
        }
        whole = client.chat.completions.create(**asked)
        chunks = list(client.chat.completions.create(**asked, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
        assert chunks[-1].hermes["session_id"] == session


def test_questions_are_in_the_journal_of_the_session(client: openai.OpenAI, plain: httpx2.Client, session: str) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=[user("What color is the object?")], extra_body={"session_id": session}
    )
    [entry] = journal(plain, session, "answer")
    assert (entry["question"], entry["answer"]) == ("What color is the object?", "yellow")
    assert done.id == f"chatcmpl-{entry['id']}"


def test_many_clients_ask_one_session_at_once(server: RunningServer, session: str) -> None:
    questions = list(clip().truths) * 2

    async def ask_all() -> list[str | None]:
        async with async_client_of(server.address) as client:
            answers = [
                client.chat.completions.create(
                    model=MODEL, messages=[user(question)], extra_body={"session_id": session}
                )
                for question in questions
            ]
            return [done.choices[0].message.content for done in await asyncio.gather(*answers)]

    assert asyncio.run(ask_all()) == [clip().truths[question] for question in questions]


def test_a_client_that_goes_away_ends_its_answer(client: openai.OpenAI, plain: httpx2.Client, session: str) -> None:
    n_before = n_cancelled(plain)
    asked: dict[str, Any] = {"model": MODEL, "messages": [user("What color is the object?")], **AT_LENGTH}
    with client.chat.completions.create(**asked, extra_body={"session_id": session}, stream=True) as chunks:
        next(iter(chunks))
    until_cancelled(plain, session, n_before)


def test_a_client_that_does_not_wait_ends_its_answer_too(
    client: openai.OpenAI, plain: httpx2.Client, session: str
) -> None:
    n_before = n_cancelled(plain)
    asked: dict[str, Any] = {"model": MODEL, "messages": [user("What color is the object?")], **AT_LENGTH}
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1.0).chat.completions.create(**asked, extra_body={"session_id": session})
    until_cancelled(plain, session, n_before)


def test_a_client_of_ask_that_does_not_wait_ends_its_answer_too(plain: httpx2.Client, session: str) -> None:
    n_before = n_cancelled(plain)
    asked = {"question": "What color is the object?", "temperature": 10, "max_new_tokens": 1500, "seed": 159}
    with pytest.raises(httpx2.ReadTimeout):
        plain.post(f"/v1/sessions/{session}/ask", json=asked, timeout=1.0)
    until_cancelled(plain, session, n_before)


def n_cancelled(plain: httpx2.Client) -> float:
    """Questions so far that were cancelled."""
    families = text_string_to_metric_families(plain.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    [value] = [each.value for each in samples if each.name.endswith("answers_total") and each.labels == CANCELLED]
    return value


def until_cancelled(plain: httpx2.Client, session: str, n_before: float) -> None:
    """One question was cancelled, and never answered."""
    until = time.monotonic() + _WAIT_SECONDS
    while n_cancelled(plain) == n_before:
        assert journal(plain, session, "answer") == []
        assert time.monotonic() < until
    assert n_cancelled(plain) == n_before + 1
    assert journal(plain, session, "answer") == []


def test_a_question_that_another_request_cancels_ends_with_an_error(
    client: openai.OpenAI, plain: httpx2.Client, session: str
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": [user("What color is the object?")], **AT_LENGTH}
    chunks = client.chat.completions.create(**asked, extra_body={"session_id": session}, stream=True)
    name = next(iter(chunks)).id.removeprefix("chatcmpl-")
    assert plain.delete(f"/v1/sessions/{session}/questions/{name}").status_code == 204
    with pytest.raises(openai.APIError, match="cancelled"):
        list(chunks)


def test_none_of_this_changes_a_memory(
    client: openai.OpenAI, plain: httpx2.Client, session: str, tmp_path: Path
) -> None:
    before = memory(plain, session, tmp_path)
    ours = {"session_id": session}
    for question in clip().truths:
        client.chat.completions.create(model=MODEL, messages=[user(question)], extra_body=ours)
    asked: dict[str, Any] = {"model": MODEL, "messages": [user("What color is the object?")], **AT_LENGTH}
    with client.chat.completions.create(**asked, extra_body=ours, stream=True) as chunks:
        next(iter(chunks))
    client.chat.completions.create(model=MODEL, messages=about_video(clip(900_302).data_uri, "Which room is this?"))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=MODEL, messages=[user(image(clip().picture_uris[0]), "What?")], extra_body=ours
        )
    with connected(client, **ours) as connection:
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Which room is this?"}]}
        )
        connection.response.create()
        while connection.recv().type != "response.done":
            pass
    after = memory(plain, session, tmp_path)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
