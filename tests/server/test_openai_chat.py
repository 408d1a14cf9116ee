"""`POST /v1/chat/completions` without a session, with OpenAI's own clients against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from hermes_stream import Engine, load_model
from hermes_stream.shapestream.grade import is_right
from hermes_stream.types import Answer, Query

from .conftest import RunningServer
from .openai_clients import MODEL, about_video, async_client_of, client_of, image, user
from .shape_clips import SECONDS, clip


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def reference() -> Iterator[Engine]:
    """The same model in this process."""
    with load_model(MODEL) as engine:
        yield engine


def answer_here(reference: Engine, query: Query, memory: str = "hermes") -> Answer:
    """What the engine says of the clip without any server. Its frames are the client's pictures."""
    import base64
    import io

    import numpy as np
    from PIL import Image

    from hermes_stream.types import Frame

    with reference.open(memory) as session:
        for second, uri in enumerate(clip().picture_uris):
            picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
            session.watch(Frame(float(second), np.asarray(picture)))
        return session.ask(query).result()


def sessions(server: RunningServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.http.get("/v1/sessions").json()["data"]
    return found


def test_the_models_that_are_served_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "hermes-stream"


@pytest.mark.parametrize("seed", [900_302, 900_304])
def test_a_video_in_the_request_is_answered_right(client: openai.OpenAI, seed: int) -> None:
    shown = clip(seed)
    answers = {
        question: client.chat.completions.create(model=MODEL, messages=about_video(shown.data_uri, question))
        for question in shown.truths
    }
    for question, truth in shown.truths.items():
        assert is_right(answers[question].choices[0].message.content or "", truth), question
        assert answers[question].choices[0].finish_reason == "stop"


def test_pictures_are_watched_in_the_order_in_which_they_stand(client: openai.OpenAI) -> None:
    first, last = clip(900_302), clip(900_304)
    parts = [*map(image, first.picture_uris), *map(image, last.picture_uris)]
    for shown, truths in ((parts, last.truths), (parts[SECONDS:] + parts[:SECONDS], first.truths)):
        done = client.chat.completions.create(model=MODEL, messages=[user(*shown, "What object is visible now?")])
        assert done.choices[0].message.content == truths["What object is visible now?"]
        assert done.hermes["frames_seen"] == 2 * SECONDS


def test_a_question_without_any_picture_is_answered_as_the_engine_does(
    client: openai.OpenAI, reference: Engine
) -> None:
    done = client.chat.completions.create(model=MODEL, messages=[user("What color is the object?")])
    with reference.open() as session:
        answer = session.ask(Query("What color is the object?")).result()
    assert done.choices[0].message.content == answer.text


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    for question in clip().truths:
        asked: dict[str, Any] = {"model": MODEL, "messages": about_video(clip().data_uri, question)}
        whole = client.chat.completions.create(**asked)
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        assert text == whole.choices[0].message.content
        assert reasons == [None] * (len(reasons) - 1) + [whole.choices[0].finish_reason]
        assert [chunk.usage for chunk in chunks if chunk.usage] == [whole.usage]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert len({chunk.id for chunk in chunks}) == 1


def test_without_include_usage_a_stream_has_none(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=[user("Which room is this?")], stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_usage_counts_every_token_that_was_read_and_written(client: openai.OpenAI, reference: Engine) -> None:
    question = "What color is the object?"
    done = client.chat.completions.create(model=MODEL, messages=[user(*map(image, clip().picture_uris), question)])
    tokenizer, per_frame = reference._adapter.tokenizer, reference.model.tokens_per_frame
    prompt = (
        "<|im_start|>system \nYou are a helpful assistant.<|im_end|><|im_start|>user ",
        f"\n{question}<|im_end|><|im_start|>assistant\n",
    )
    n_text = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in prompt)
    # The newline behind a video is a token of the question.
    assert done.usage is not None
    assert done.usage.prompt_tokens == n_text + SECONDS * per_frame + 1
    assert done.usage.completion_tokens == len(answer_here(reference, Query(question)).token_ids)
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_earlier_messages_are_turns_of_the_dialogue(client: openai.OpenAI, reference: Engine) -> None:
    from hermes_stream.types import Turn

    turns = (Turn("What color is the object?", "yellow"), Turn("Which room is this?", "blue"))
    messages = [
        user(*map(image, clip().picture_uris), turns[0].question),
        {"role": "assistant", "content": turns[0].answer},
        user(turns[1].question),
        {"role": "assistant", "content": turns[1].answer},
        user("What shape is the object?"),
    ]
    done = client.chat.completions.create(model=MODEL, messages=messages)  # type: ignore[arg-type]
    alone = client.chat.completions.create(
        model=MODEL, messages=[user(*map(image, clip().picture_uris), "What shape is the object?")]
    )
    here = answer_here(reference, Query("What shape is the object?", turns=turns))
    assert done.choices[0].message.content == here.text
    assert done.usage is not None
    assert alone.usage is not None
    assert (
        done.usage.prompt_tokens - alone.usage.prompt_tokens
        == here.n_prompt_tokens - answer_here(reference, Query("What shape is the object?")).n_prompt_tokens
    )


def test_what_the_system_says_stands_before_the_question(client: openai.OpenAI, reference: Engine) -> None:
    messages = [
        {"role": "system", "content": "Answer in one word."},
        user(*map(image, clip().picture_uris), "What color is the object?"),
    ]
    done = client.chat.completions.create(model=MODEL, messages=messages)  # type: ignore[arg-type]
    here = answer_here(reference, Query("Answer in one word.\nWhat color is the object?"))
    assert done.choices[0].message.content == here.text


def test_sampling_follows_temperature_and_seed(client: openai.OpenAI, reference: Engine) -> None:
    messages = [user(*map(image, clip().picture_uris), "What color is the object?")]
    for seed in (3, 7):
        done = client.chat.completions.create(
            model=MODEL, messages=messages, temperature=1.5, top_p=0.95, seed=seed, max_tokens=20
        )
        query = Query("What color is the object?", temperature=1.5, top_p=0.95, seed=seed, max_new_tokens=20)
        assert done.choices[0].message.content == answer_here(reference, query).text


def test_too_few_tokens_end_an_answer_with_length(client: openai.OpenAI) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        limits: dict[str, Any] = {name: 1}
        done = client.chat.completions.create(
            model=MODEL, messages=about_video(clip().data_uri, "What object is visible now?"), **limits
        )
        assert done.choices[0].finish_reason == "length"
        assert done.choices[0].message.content == "yellow"


def test_an_answer_ends_before_a_stop_text(client: openai.OpenAI) -> None:
    for stop in ("triangle", ["circle", " tri"]):
        messages = about_video(clip().data_uri, "What object is visible now?")
        done = client.chat.completions.create(model=MODEL, messages=messages, stop=stop)
        assert done.choices[0].message.content == "yellow"
        assert done.choices[0].finish_reason == "stop"
        chunks = client.chat.completions.create(model=MODEL, messages=messages, stop=stop, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "yellow"


def test_memory_and_sampling_rate_can_be_chosen(client: openai.OpenAI) -> None:
    chosen = {"memory": "sliding-window", "budget": 16, "fps": 2}
    done = client.chat.completions.create(
        model=MODEL, messages=about_video(clip().data_uri, "What color is the object?"), extra_body=chosen
    )
    assert done.choices[0].message.content == "yellow"
    assert done.hermes["frames_seen"] == 2 * SECONDS


def test_evidence_names_moments_of_the_video(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model=MODEL,
        messages=about_video(clip().data_uri, "What color is the object?"),
        extra_body={"evidence": 3},
    )
    evidence = done.hermes["evidence"]
    assert 0 < len(evidence) <= 3
    assert all(0 <= each["time_s"] < SECONDS and set(each) == {"time_s", "weight"} for each in evidence)


def test_requests_at_once_do_not_disturb_each_other(server: RunningServer) -> None:
    asked = [(seed, question) for seed in (900_302, 900_304) for question in clip(seed).truths]

    async def ask_all() -> list[str | None]:
        async with async_client_of(server.address) as client:
            answers = [
                client.chat.completions.create(model=MODEL, messages=about_video(clip(seed).data_uri, question))
                for seed, question in asked
            ]
            return [done.choices[0].message.content for done in await asyncio.gather(*answers)]

    assert asyncio.run(ask_all()) == [clip(seed).truths[question] for seed, question in asked]


def test_nothing_stays_of_a_request_whether_it_succeeds_or_not(server: RunningServer, client: openai.OpenAI) -> None:
    before = sessions(server)
    client.chat.completions.create(model=MODEL, messages=about_video(clip().data_uri, "Which room is this?"))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=about_video("data:video/mp4;base64,AAAA", "What?"))
    assert sessions(server) == before
