"""lmms-eval as far as a model meets it: names and shapes of its interface of August 2026 (commit 75571cf)."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass
class TokenCounts:
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass
class GenerationResult:
    text: str
    token_counts: TokenCounts | None = None


class CacheHook:
    def __init__(self, caching: object) -> None:
        self.partial: list[tuple[object, ...]] = []

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        self.partial.append((attr, req, res))


class lmms(abc.ABC):  # noqa: N801
    is_simple: bool = True

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.cache_hook = CacheHook(None)
        self.task_dict: dict[str, Any] = {}

    @abc.abstractmethod
    def loglikelihood(self, requests: list[Any]) -> Any: ...

    @abc.abstractmethod
    def generate_until(self, requests: list[Any]) -> Any: ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests: list[Any]) -> Any: ...

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Any:
        pairs = [word.partition("=") for word in arg_string.split(",") if word]
        more = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**{name: _value(value) for name, _, value in pairs}, **more)

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size

    def clean(self) -> None:
        self.task_dict = {}


def _value(text: str) -> Any:
    """Numbers become numbers, as there."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass
class Instance:
    """A request of a task with messages."""

    arguments: tuple[Any, ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def args(self) -> tuple[Any, ...]:
        return self.arguments


def manifests_of(payload: Any) -> list[ModelManifest]:
    """What the registry makes of an entry point's object."""
    found = payload() if callable(payload) else payload
    return [found] if isinstance(found, ModelManifest) else list(found)


def chat_class(manifest: ModelManifest) -> type[Any]:
    """What the registry imports and checks when a model is named."""
    assert manifest.chat_class_path is not None
    module, name = manifest.chat_class_path.rsplit(".", 1)
    found = getattr(import_module(module), name)
    assert isinstance(found, type)
    assert issubclass(found, lmms)
    assert not found.is_simple
    return found


@contextmanager
def installed(forget: Callable[[], None]) -> Iterator[None]:
    """For the length of a block, lmms-eval can be imported. forget: called before and after."""
    contents: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": lmms},
        "lmms_eval.api.instance": {"GenerationResult": GenerationResult, "TokenCounts": TokenCounts},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
    }
    forget()
    for name, values in contents.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(values)
    try:
        yield
    finally:
        for name in contents:
            del sys.modules[name]
        forget()
