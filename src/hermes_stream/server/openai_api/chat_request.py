"""A request for a chat completion: what it may say, what is ignored, and what is refused rather than ignored."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hermes_stream.server.openai_api.dialogue import Said
from hermes_stream.server.openai_api.media import MediaPart
from hermes_stream.server.problems import ApiError, refusal
from hermes_stream.server.settings import SessionSpec

_DEFAULT_TOKENS = 512
_SEED_BITS = 31
# What other services do with these, and ours leaves: bookkeeping, speed, style.
_IGNORED = frozenset(
    {
        # vLLM's, which lmms-eval sends: how many frames to take; here they are sampled by time.
        "media_io_kwargs",
        "metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "reasoning_effort", "safety_identifier", "service_tier", "store", "user", "verbosity",
    }
)  # fmt: skip
# What would change the answer and cannot be had: the values that leave it as it is.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "audio": (),
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logit_bias": ({},),
        "logprobs": (False,),
        "modalities": (["text"],),
        "moderation": (),
        "n": (1,),
        "presence_penalty": (0,),
        "response_format": ({"type": "text"},),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "web_search_options": (),
    }
)
_OF_A_SESSION = frozenset({"as_of_s", "remember"})
_OF_NO_SESSION = frozenset({"memory", "budget", "fps"})


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Address(_Part):
    url: Annotated[str, Field(min_length=1)]


class TextPart(_Part):
    """A text."""

    type: Literal["text"]
    text: str


class ImagePart(_Part):
    """A picture: `data:` or http(s)."""

    type: Literal["image_url"]
    image_url: _Address

    def at(self, place: str) -> MediaPart:
        """What is to be opened."""
        return MediaPart("image", self.image_url.url, place)


class VideoPart(_Part):
    """A video: `data:`, http(s), or file:// where the server allows it."""

    type: Literal["video_url"]
    video_url: _Address

    def at(self, place: str) -> MediaPart:
        """What is to be opened."""
        return MediaPart("video", self.video_url.url, place)


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


def _as_parts(content: Any) -> Any:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _any_seed() -> int:
    return secrets.randbits(_SEED_BITS)


def _as_texts(stop: Any) -> Any:
    return (stop,) if isinstance(stop, str) else stop


class Message(_Part):
    """One message. Names, refusals and the like of earlier answers are ignored; calls of tools are refused."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[tuple[Part, ...], BeforeValidator(_as_parts)] = ()
    tool_calls: Annotated[tuple[Any, ...], Field(max_length=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Message:
        if self.role != "user" and any(part.type != "text" for part in self.content):
            raise ValueError(f"a message of the {self.role} may hold texts only")
        return self

    @property
    def said(self) -> Said:
        """Its texts."""
        role: Literal["system", "user", "assistant"] = "system" if self.role == "developer" else self.role
        return Said(role, "\n".join(part.text for part in self.content if isinstance(part, TextPart)))


class StreamOptions(_Part):
    """What goes with a stream."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A chat completion, of a session (`session_id`) or of the pictures and videos in its messages.

    max_completion_tokens: `max_tokens` is its older name. temperature: 0 unless given. seed: of sampling; by default
    another one each time. stop: texts before which the answer ends.
    Not OpenAI's: session_id, as_of_s, remember, evidence as of `AskRequest`; memory, budget, fps as of `SessionSpec`,
    for a request without a session.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_completion_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63, default_factory=_any_seed)]
    stop: Annotated[tuple[str, ...], BeforeValidator(_as_texts)] = ()
    session_id: str | None = None
    as_of_s: float | None = None
    remember: bool = False
    evidence: int | None = None
    memory: str | None = None
    budget: int | str | None = None
    fps: float | None = None

    @property
    def said(self) -> list[Said]:
        """The texts of all messages."""
        return [message.said for message in self.messages]

    @property
    def media(self) -> list[MediaPart]:
        """Pictures and videos in the order in which they stand."""
        return [
            part.at(f"messages.{index}.content.{number}")
            for index, message in enumerate(self.messages)
            for number, part in enumerate(message.content)
            if not isinstance(part, TextPart)
        ]

    @property
    def n_tokens(self) -> int:
        """The answer's most."""
        return self.max_completion_tokens or self.max_tokens or _DEFAULT_TOKENS

    def to_spec(self) -> SessionSpec:
        """Of the session that lives as long as this request. Raises ApiError for what no session can be."""
        given = self.model_dump(include={"model", "memory", "budget", "fps"}, exclude_none=True)
        try:
            return SessionSpec(**given)
        except ValidationError as error:
            raise refusal(error) from error


def parse_chat(body: bytes) -> ChatRequest:
    """The request in a body. Raises ApiError for one that is malformed or asks for what cannot be had."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ApiError(400, "invalid_request", "the body is not a JSON object; see /docs for what is expected")
    # OpenAI's clients say null for what they leave open.
    given = {name: value for name, value in fields.items() if value is not None and name not in _IGNORED}
    _check_neutral(given)
    try:
        chat = ChatRequest.model_validate({name: value for name, value in given.items() if name not in _NEUTRAL})
    except ValidationError as error:
        raise refusal(error) from error
    _check_session(chat)
    return chat


def _check_neutral(given: Mapping[str, Any]) -> None:
    for name, allowed in _NEUTRAL.items():
        if name in given and given[name] not in allowed:
            advice = f"leave it out or say {' or '.join(map(json.dumps, allowed))}" if allowed else "leave it out"
            told = f"{name} is not supported, and the answer would be another one with it; {advice}"
            raise ApiError(400, "unsupported_parameter", told, name)


def _check_session(chat: ChatRequest) -> None:
    wrong = _OF_A_SESSION if chat.session_id is None else _OF_NO_SESSION
    for name in sorted(wrong & chat.model_fields_set):
        told = "is for questions to a session; give session_id too" if chat.session_id is None else "is the session's"
        raise ApiError(400, "invalid_request", f"{name} {told}; leave it out", name)
    if chat.session_id is not None and chat.media:
        place = chat.media[0].place
        told = "a session is asked about what it watches; push pictures to it, or leave out session_id"
        raise ApiError(400, "invalid_request", f"{place}: {told}", place)
