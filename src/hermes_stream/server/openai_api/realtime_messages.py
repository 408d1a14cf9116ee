"""What a client may say over a realtime connection, in the words of OpenAI's types; anything else in it is ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hermes_stream.server.openai_api.dialogue import Role
from hermes_stream.server.problems import ApiError, refusal

_MOST_TOKENS = 4096
# Three years; seconds since 1970 are beyond it.
_MOST_SECONDS = 1e8
_MostTokens = Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | Literal["inf"]
# Of tools: none.
_Nothing = Annotated[tuple[Any, ...], Field(max_length=0)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class TextContent(_Message):
    """A text."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class ImageContent(_Message):
    """A picture: the stream's next frame. time_s: of the stream; by default the moment at which it arrives."""

    type: Literal["input_image"]
    image_url: Annotated[str, Field(min_length=1)]
    time_s: Annotated[float, Field(ge=0, le=_MOST_SECONDS)] | None = None


class ItemParam(_Message):
    """An item of a conversation."""

    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    type: Literal["message"]
    role: Role
    content: tuple[Annotated[TextContent | ImageContent, Field(discriminator="type")], ...]


class SessionParam(_Message):
    """What a session can be told. The model's answers are text, whatever is said of audio."""

    type: Literal["realtime"] = "realtime"
    instructions: str | None = None
    max_output_tokens: _MostTokens | None = None
    tools: _Nothing = ()


class ResponseParam(_Message):
    """How one response is to be.

    input: instead of the conversation. Not OpenAI's: as_of_s, remember, evidence, temperature, top_p, seed, stop, as
    of `AskRequest`.
    """

    conversation: Literal["auto", "none"] = "auto"
    input: tuple[ItemParam, ...] | None = None
    instructions: str | None = None
    max_output_tokens: _MostTokens | None = None
    metadata: dict[str, Any] | None = None
    tools: _Nothing = ()
    as_of_s: float | None = None
    remember: bool | None = None
    evidence: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None


class SessionUpdate(_Message):
    """Change what responses are like."""

    type: Literal["session.update"]
    session: SessionParam


class ItemCreate(_Message):
    """Say or show something."""

    type: Literal["conversation.item.create"]
    item: ItemParam


class ItemRetrieve(_Message):
    """Look at an item."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemDelete(_Message):
    """Take back what was said."""

    type: Literal["conversation.item.delete"]
    item_id: str


class ResponseCreate(_Message):
    """Answer."""

    type: Literal["response.create"]
    event_id: str | None = None
    response: ResponseParam = ResponseParam()


class ResponseCancel(_Message):
    """Stop answering."""

    type: Literal["response.cancel"]
    response_id: str | None = None


ClientMessage = SessionUpdate | ItemCreate | ItemRetrieve | ItemDelete | ResponseCreate | ResponseCancel
_MESSAGES: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])
_KINDS = [get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(ClientMessage)]


def parse_message(fields: dict[str, Any]) -> ClientMessage:
    """What a client says. Raises ApiError for what nobody here understands."""
    kind = fields.get("type")
    if kind not in _KINDS:
        told = f"events of type {kind!r} are not understood here; there are {', '.join(_KINDS)}"
        raise ApiError(400, "unknown_event", told, "type")
    try:
        return _MESSAGES.validate_python(fields)
    except ValidationError as error:
        raise refusal(error) from error


def n_tokens(most: int | Literal["inf"] | None, default: int) -> int:
    """A limit as a number."""
    return default if most is None else _MOST_TOKENS if most == "inf" else most
