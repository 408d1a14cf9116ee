"""What clients say, understood or refused in one line."""

from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.server.push.push_messages import (
    AudioChunk,
    MessageError,
    SessionConfig,
    VideoFrame,
    VideoQuery,
    parse_binary,
    parse_text,
)

KINDS = ["session.config", "video.frame", "video.query", "query.cancel", "video.done", "audio.chunk", "subscribe"]
FIELDS = [
    "text",
    "question",
    "id",
    "data",
    "time_s",
    "timestamp",
    "format",
    "width",
    "fps",
    "options",
    "seed",
    "as_of_s",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_a_question_has_what_questions_have() -> None:
    message = parse_text(json.dumps({"type": "video.query", "text": "What is it?", "id": "a", "options": ["x", "y"]}))
    assert isinstance(message, VideoQuery)
    assert (message.question, message.id, message.options) == ("What is it?", "a", ("x", "y"))


@pytest.mark.parametrize("name", ["time_s", "timestamp"])
def test_a_frame_may_say_its_time(name: str) -> None:
    assert parse_text(json.dumps({"type": "video.frame", "data": "x", name: 3})) == VideoFrame(data="x", time_s=3.0)


def test_a_binary_frame_is_a_time_and_a_picture() -> None:
    assert parse_binary(struct.pack(">d", 12.5) + b"picture") == (12.5, b"picture")


@pytest.mark.parametrize("size", range(9))
def test_a_binary_message_without_a_picture_is_refused(size: int) -> None:
    with pytest.raises(MessageError, match=f"of {size} bytes is too short"):
        parse_binary(bytes(size))


VLLM_OMNI_CONFIG = {
    "type": "session.config",
    "model": "Qwen/Qwen3-Omni-30B-A3B-Instruct",
    "modalities": ["text", "audio"],
    "num_frames": 4,
    "max_frames": 50,
    "system_prompt": None,
    "use_audio_in_video": True,
    "sampling_params_list": None,
    "enable_frame_filter": True,
    "frame_filter_threshold": 0.95,
    "speaker": "ethan",
}


def test_fields_of_other_servers_are_left_out_where_their_clients_come() -> None:
    message = parse_text(json.dumps(VLLM_OMNI_CONFIG), is_lenient=True)
    assert message == SessionConfig(model="Qwen/Qwen3-Omni-30B-A3B-Instruct")


def test_fields_of_other_servers_are_refused_elsewhere() -> None:
    with pytest.raises(MessageError, match=r"session.config: modalities: .*not permitted"):
        parse_text(json.dumps(VLLM_OMNI_CONFIG))


def test_sound_is_understood_whatever_comes_with_it() -> None:
    assert parse_text('{"type": "audio.chunk", "data": "AAAA", "format": "pcm"}') == AudioChunk()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON"),
        ("9" * 5000, "no JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "no JSON object"),
        ("{}", 'needs a "type"'),
        ('{"type": 7}', 'needs a "type"'),
        ('{"type": "video.qeury"}', "did you mean video.query"),
        ('{"type": "video.query"}', "text: Field required"),
        ('{"type": "video.frame", "data": "x", "time_s": NaN}', "time_s: Input should be a finite number"),
        ('{"type": "video.frame", "data": "x", "time_s": ' + "9" * 400 + "}", "time_s"),
        ('{"type": "video.query", "text": "a", "seed": ' + "9" * 400 + "}", "seed"),
        ('{"type": "video.query", "text": "a", "options": ["\\ud800", "b"]}', "options.0"),
        ('{"type": "session.config", "format": "raw"}', "raw pictures need width and height"),
        ('{"type": "query.cancel"}', "id: Field required"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(MessageError, match=told) as refused:
        parse_text(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_what_is_wrong_with_a_question_is_told_with_its_id() -> None:
    with pytest.raises(MessageError) as refused:
        parse_text('{"type": "video.query", "id": "q1", "temperature": -1, "text": "a"}')
    assert refused.value.question == "q1"


@given(text=st.text(max_size=200), is_lenient=st.booleans())
def test_any_text_is_a_message_or_refused(text: str, is_lenient: bool) -> None:
    with suppress(MessageError):
        assert parse_text(text, is_lenient=is_lenient).model_dump_json()


@given(
    kind=st.sampled_from(KINDS), fields=st.dictionaries(st.sampled_from(FIELDS), json_values), is_lenient=st.booleans()
)
def test_any_fields_are_a_message_or_refused(kind: str, fields: dict[str, object], is_lenient: bool) -> None:
    text = json.dumps({**fields, "type": kind})
    with suppress(MessageError):
        # What was understood can be written down and sent.
        assert parse_text(text, is_lenient=is_lenient).model_dump_json()
