"""A language model behind any OpenAI-compatible API, asked for one reply at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from hermes_stream.errors import TaskError

if TYPE_CHECKING:
    from openai import OpenAI

_TIMEOUT_SECONDS = 60.0
_N_RETRIES = 3
# What a server says of one request, not of itself: too long, refused by a filter, a field it does not know.
_OF_ONE_REQUEST = frozenset({400, 413, 422})
_KEY_VARIABLE = "OPENAI_API_KEY"

Message = tuple[str, str]
"""Role and text."""


@dataclass(frozen=True, slots=True)
class Said:
    """A model's reply. model: as the server names what replied, often more exact than what was asked for."""

    text: str
    model: str


class RequestRefused(TaskError):
    """The endpoint works, but takes this one request not."""


class Asker(Protocol):
    """Something that answers messages, always the same way."""

    @property
    def manifest(self) -> dict[str, str]:
        """What a result must say of who replied."""
        ...

    def key(self, messages: Sequence[Message]) -> str:
        """The same for the same messages to the same model with the same decoding only."""
        ...

    def ask(self, messages: Sequence[Message]) -> Said:
        """Raises RequestRefused for these messages alone, other TaskErrors where nobody answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSetting:
    """Where a model answers, and how; model, revision and decoding are what its answers are known by.

    base_url: up to and with the version, as "http://localhost:8000/v1". revision: what else pins the model, as the
    commit of its weights. temperature, seed, max_new_tokens: None are not sent, for endpoints that refuse them.
    key_variable: of the environment, holds the API key; endpoints without keys need none. n_retries: after errors that
    may pass.
    """

    base_url: str
    model: str
    revision: str = ""
    temperature: float | None = 0.0
    seed: int | None = 0
    max_new_tokens: int | None = 300
    key_variable: str = _KEY_VARIABLE
    timeout_seconds: float = _TIMEOUT_SECONDS
    n_retries: int = _N_RETRIES

    @property
    def decoding(self) -> dict[str, float | int]:
        """The fields of a request beside its messages that change an answer."""
        given = {"temperature": self.temperature, "seed": self.seed, "max_tokens": self.max_new_tokens}
        return {name: value for name, value in given.items() if value is not None}


class Endpoint:
    """An `Asker` over the network. Connects when it is first asked; safe to use from several threads."""

    def __init__(self, setting: EndpointSetting) -> None:
        """Raises TaskError where the address is none, or the client library is not installed."""
        if urlsplit(setting.base_url).scheme not in ("http", "https") or not urlsplit(setting.base_url).hostname:
            raise TaskError(
                f"{setting.base_url!r} is no address of a judge; expected one like http://localhost:8000/v1"
            )
        self.setting = setting
        self._client = _client(setting)

    @property
    def manifest(self) -> dict[str, str]:
        decoding = {name: str(value) for name, value in self.setting.decoding.items()}
        return {"model": self.setting.model, "revision": self.setting.revision, "host": self._host, **decoding}

    def key(self, messages: Sequence[Message]) -> str:
        return key_of(self.setting, messages)

    def ask(self, messages: Sequence[Message]) -> Said:
        import openai

        request: dict[str, Any] = {
            "model": self.setting.model,
            "messages": [{"role": role, "content": text} for role, text in messages],
            **self.setting.decoding,
        }
        try:
            completion = self._client.chat.completions.create(**request)
            return Said(completion.choices[0].message.content or "", completion.model or self.setting.model)
        except openai.APIStatusError as error:
            raise self._refusal(error.status_code, error) from error
        except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise TaskError(f"{self._who} cannot be asked ({_line(error)}); start it, or check its address") from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    @property
    def _host(self) -> str:
        address = urlsplit(self.setting.base_url)
        return f"{address.hostname}:{address.port}" if address.port else str(address.hostname)

    @property
    def _who(self) -> str:
        return f"the judge {self.setting.model} at {self._host}"

    def _refusal(self, status: int, error: Exception) -> TaskError:
        if status in _OF_ONE_REQUEST:
            return RequestRefused(f"{self._who} refused a request with status {status} ({_line(error)})")
        if status in (401, 403):
            return TaskError(
                f"{self._who} wants another key (status {status}); put one into {self.setting.key_variable}"
            )
        return TaskError(f"{self._who} fails with status {status} ({_line(error)}); start again when it works")


def key_of(setting: EndpointSetting, messages: Sequence[Message]) -> str:
    """SHA-256 of all that an answer depends on; where the model answers is not part of it."""
    content = {"model": setting.model, "revision": setting.revision, "decoding": setting.decoding}
    text = json.dumps([content, [list(message) for message in messages]], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _client(setting: EndpointSetting) -> OpenAI:
    try:
        from openai import OpenAI
    except ImportError as error:
        raise TaskError("a judge needs the client library: pip install 'hermes-stream[judge]'") from error
    # The client wants a key even for servers that want none.
    key = os.environ.get(setting.key_variable) or "none"
    return OpenAI(
        api_key=key, base_url=setting.base_url, timeout=setting.timeout_seconds, max_retries=setting.n_retries
    )


def _line(error: Exception) -> str:
    """The first line of an error, shortened."""
    lines = str(error).splitlines() or [type(error).__name__]
    cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) else ""
    return (lines[0] + cause.partition("\n")[0])[:200]
