"""What clients say on a push connection: JSON texts and binary frames, checked.

The names of messages are those of vLLM-Omni's video chat, whose clients also send fields that mean nothing here.
"""

from __future__ import annotations

import json
import struct
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hermes_stream.errors import UsageError, unknown_name
from hermes_stream.server.problems import told
from hermes_stream.server.questions import AskRequest

# A presentation time before the picture: seconds, big-endian float64.
_HEAD = struct.Struct(">d")
_LONGEST_NAME = 64
_N_SHOWN = 40


class MessageError(UsageError):
    """A message that means nothing. question: the id that it came with, if it came with one."""

    def __init__(self, message: str, question: str | None = None) -> None:
        super().__init__(message)
        self.question = question


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SessionConfig(_Message):
    """What a client wants of a session, and how it sends frames.

    session_id: one that is there. model, memory, budget, fps: of the session that is made, where there is none.
    format: files of pictures, of whatever kind, or raw RGB of `width` x `height`. resume: the next frame stands where
    the session stands now.
    """

    session_id: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)] | None = None
    model: str | None = None
    memory: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    budget: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1, max_length=32)] | None = None
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    format: Literal["jpeg", "png", "webp", "raw"] = "jpeg"
    width: Annotated[int, Field(ge=1, le=65_535)] | None = None
    height: Annotated[int, Field(ge=1, le=65_535)] | None = None
    resume: bool = False

    @model_validator(mode="after")
    def _check_raw(self) -> SessionConfig:
        if self.format == "raw" and (self.width is None or self.height is None):
            raise ValueError("raw pictures need width and height")
        return self

    def of_session(self) -> dict[str, Any]:
        """What can only be said of a session that is made for it."""
        return self.model_dump(include={"model", "memory", "budget", "fps"}, exclude_none=True)


class VideoFrame(_Message):
    """A picture. data: base64. time_s: presentation time in seconds; else it counts as seen when it arrives."""

    data: str
    time_s: Annotated[float | None, Field(validation_alias=AliasChoices("time_s", "timestamp"))] = None


class VideoQuery(AskRequest):
    """A question: `text`, and whatever else a question may have."""

    question: Annotated[str, Field(max_length=100_000, validation_alias="text")]


class QueryCancel(_Message):
    """Stop an answer. id: of its question."""

    id: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]


class VideoDone(_Message):
    """No more frames."""


class AudioChunk(_Message):
    """Sound, which no model here hears."""

    model_config = ConfigDict(extra="ignore")


class Subscribe(_Message):
    """Tell what happens in the session."""


Message = SessionConfig | VideoFrame | VideoQuery | QueryCancel | VideoDone | AudioChunk | Subscribe

_KINDS: dict[str, type[Message]] = {
    "session.config": SessionConfig,
    "video.frame": VideoFrame,
    "video.query": VideoQuery,
    "query.cancel": QueryCancel,
    "video.done": VideoDone,
    "audio.chunk": AudioChunk,
    "subscribe": Subscribe,
}


def parse_text(text: str, *, is_lenient: bool = False) -> Message:
    """The message of a text. is_lenient: fields that are not known are left out. Raises MessageError, in one line."""
    fields = _fields(text)
    kind = fields.pop("type", None)
    if not isinstance(kind, str):
        raise MessageError('a message needs a "type", as in {"type": "video.query", "text": "What is it?"}')
    if kind not in _KINDS:
        raise MessageError(unknown_name("message type", kind[:_N_SHOWN], _KINDS))
    question = fields.get("id") if isinstance(fields.get("id"), str) else None
    try:
        return _check(_KINDS[kind], fields, is_lenient=is_lenient)
    except ValidationError as error:
        raise MessageError(f"{kind}: {told(error.errors())}", question) from error


def parse_binary(data: bytes) -> tuple[float, bytes]:
    """Time and picture of a binary message. Raises MessageError for one that is too short."""
    if len(data) <= _HEAD.size:
        raise MessageError(
            f"a binary message of {len(data)} bytes is too short; send the time as 8 bytes (float64, big-endian), then "
            "the picture"
        )
    return _HEAD.unpack_from(data)[0], data[_HEAD.size :]


def _fields(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise MessageError("the message is nested too deep; expected one JSON object") from error
    except ValueError as error:
        raise MessageError(
            f"the message is no JSON ({str(error)[:_LONGEST_NAME]}); expected one JSON object"
        ) from error
    if not isinstance(fields, dict):
        raise MessageError("the message is no JSON object")
    return fields


def _check(model: type[Message], fields: dict[str, Any], *, is_lenient: bool) -> Message:
    if is_lenient:
        known = {*model.model_fields, "text", "timestamp"}
        fields = {name: value for name, value in fields.items() if name in known}
    return model.model_validate(fields)
