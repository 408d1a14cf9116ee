"""What OpenAI's clients raise for requests that cannot be answered, and what they are told."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from .conftest import RunningServer
from .openai_clients import MODEL, about_video, client_of, image, user
from .shape_clips import clip

ASKED = [user("What color is the object?")]
NOISE = base64.b64encode(bytes(range(256)) * 8).decode()


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server.address) as client:
        yield client


@pytest.fixture
def plain(server: RunningServer) -> httpx2.Client:
    return server.http


def refused(client: openai.OpenAI, **asked: Any) -> openai.BadRequestError:
    """What is raised for a request, which is one line."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": ASKED, **asked})
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "invalid_request_error"
    assert "\n" not in body["message"]
    return caught.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function", "function": {"name": "look"}}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("modalities", ["text", "audio"]),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1.0),
        ("logit_bias", {"5": 100}),
        ("web_search_options", {}),
    ],
)
def test_what_would_change_the_answer_is_refused_by_its_name(client: openai.OpenAI, name: str, value: Any) -> None:
    error = refused(client, **{name: value})
    assert error.param == name
    assert error.code == "unsupported_parameter"


def test_what_changes_nothing_is_taken(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        n=1,
        tools=[],
        tool_choice="auto",
        response_format={"type": "text"},
        logprobs=False,
        frequency_penalty=0,
        presence_penalty=0,
        logit_bias={},
        modalities=["text"],
        user="me",
        store=True,
        metadata={"a": "b"},
        service_tier="auto",
        reasoning_effort="low",
        temperature=None,
        stop=None,
    )
    assert done.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"extra_body": {"surprise": 1}}, "surprise"),
        ({"temperature": 11}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 4097}, "max_completion_tokens"),
        ({"seed": 2**64}, "seed"),
        ({"stop": [""]}, "stop.0"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "7", "tool_call_id": "x"}]}, "messages.0.role"),
        (
            {"messages": [user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})]},
            "messages.0.content.0",
        ),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "Hello."}, *ASKED]}, "messages"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "red"}]}, "messages"),
        ({"messages": [user("  ")]}, "messages"),
        ({"extra_body": {"as_of_s": 3}}, "as_of_s"),
        ({"extra_body": {"remember": True}}, "remember"),
        ({"extra_body": {"budget": "much"}}, None),
        ({"extra_body": {"memory": "no-such-memory"}}, None),
        ({"extra_body": {"fps": 0}}, "fps"),
        ({"extra_body": {"evidence": -1}}, "evidence"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(client: openai.OpenAI, asked: dict[str, Any], param: str | None) -> None:
    assert refused(client, **asked).param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": 3}', b"[" * 100_000])
def test_a_body_that_is_no_request_is_refused(plain: httpx2.Client, body: bytes) -> None:
    answer = plain.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "url",
    [
        "data:video/mp4;base64," + NOISE,
        "data:video/mp4;base64,====",
        "data:video/mp4;base64",
        "data:,text",
        "data:application/x-mpegurl;base64,"
        + base64.b64encode(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n").decode(),
        "data:;base64," + base64.b64encode(b"ffconcat version 1.0\nfile /etc/passwd\n").decode(),
        clip().data_uri[:2000],
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:9/v.mp4",
        "ftp://example.org/v.mp4",
    ],
    ids=range(11),
)
def test_what_is_no_video_or_not_allowed_is_refused_with_its_place(client: openai.OpenAI, url: str) -> None:
    error = refused(client, messages=about_video(url, "What?"))
    assert error.param == "messages.0.content.0"
    assert error.code == "invalid_source"


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + NOISE,
        clip().picture_uris[0][:600],
        "file:///etc/passwd",
        "http://127.0.0.1:9/v.jpg",
    ],
    ids=range(4),
)
def test_what_is_no_picture_or_not_allowed_is_refused_with_its_place(client: openai.OpenAI, url: str) -> None:
    error = refused(client, messages=[user(image(clip().picture_uris[0]), image(url), "What?")])
    assert error.param == "messages.0.content.1"
    assert error.code == "invalid_source"


def test_a_question_longer_than_the_context_is_refused_as_such(client: openai.OpenAI) -> None:
    for n_words in (3_000, 60_000):
        for is_stream in (False, True):
            error = refused(client, messages=[user("red " * n_words)], stream=is_stream)
            assert error.code == "context_length_exceeded"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    for act in (
        lambda: client.models.retrieve("gpt-5"),
        lambda: client.models.retrieve("owner/name"),
        lambda: client.chat.completions.create(model="gpt-5", messages=ASKED),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            act()
        assert caught.value.code == "model_not_found"


def test_an_unknown_session_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no session 'nowhere'"):
        client.chat.completions.create(model=MODEL, messages=ASKED, extra_body={"session_id": "nowhere"})


def test_what_a_session_decides_cannot_be_asked_of_it(client: openai.OpenAI, session: str) -> None:
    for name, value in (("memory", "keep-all"), ("budget", 32), ("fps", 2)):
        assert refused(client, extra_body={"session_id": session, name: value}).param == name
    shown = [user(image(clip().picture_uris[0]), "What?")]
    assert refused(client, messages=shown, extra_body={"session_id": session}).param == "messages.0.content.0"
    assert "as_of_s is 5" in refused(client, extra_body={"session_id": session, "as_of_s": 5}).message


def test_too_many_sessions_are_a_rate_limit(client: openai.OpenAI, plain: httpx2.Client) -> None:
    opened: list[str] = []
    while (answer := plain.post("/v1/sessions", json={})).status_code == 201:
        opened.append(answer.json()["id"])
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=MODEL, messages=ASKED)
    assert caught.value.code == "too_many_sessions"
    for name in opened:
        plain.delete(f"/v1/sessions/{name}")
    assert client.chat.completions.create(model=MODEL, messages=ASKED).choices[0].message.content


def test_an_error_amid_a_stream_is_raised_by_the_client(
    client: openai.OpenAI, plain: httpx2.Client, session: str
) -> None:
    chunks = client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        stream=True,
        temperature=10,
        max_tokens=1500,
        seed=22,
        extra_body={"session_id": session},
    )
    next(iter(chunks))
    plain.delete(f"/v1/sessions/{session}")
    with pytest.raises(openai.APIError) as caught:
        list(chunks)
    assert caught.value.code == "session_closed"
