"""`lmms_eval --model hermes_stream`: requests about one video are answered from one pass over it.

lmms-eval finds `manifest` by the entry point of the group `lmms_eval.models`, and then the class `HermesStream` here by
its path. Neither is needed, nor imported, where lmms-eval is not installed.
Source: lmms-eval's interface of August 2026 (`models/registry_v2.py`, `api/model.py`, `api/instance.py`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hermes_stream.defaults import DEFAULT_MEMORY, DEFAULT_MODEL
from hermes_stream.engine.engine import Engine
from hermes_stream.errors import ConfigError
from hermes_stream.models.load import load_adapter
from hermes_stream.types import Answer, Frame, Query
from hermes_stream.video import open_video

MODEL_ID, CLASS_NAME = "hermes_stream", "HermesStream"
_MAX_NEW_TOKENS = 128
_MOST_AT_ONCE = 16


def manifest() -> Any:
    """What lmms-eval registers: chat messages only, which it makes for every task that generates."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_ID, chat_class_path=f"{__name__}.{CLASS_NAME}", aliases=("hermes-stream",))


def __getattr__(name: str) -> Any:
    """The class is made when lmms-eval asks for it: its base is lmms-eval's."""
    if name == CLASS_NAME:
        return _model_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class Medium:
    """A part of a message that is looked at. what: a path or an address, or a picture."""

    kind: str
    what: Any
    start_seconds: float = 0.0
    end_seconds: float = math.inf

    @property
    def key(self) -> Hashable:
        """The same for the same part of the same video; pictures are known by their identity."""
        what = self.what if isinstance(self.what, str | Path) else id(self.what)
        return self.kind, str(what), self.start_seconds, self.end_seconds

    def frames(self, fps: float, after_seconds: float) -> Iterator[Frame]:
        """Its frames, of which the first follows the time given by one tick."""
        first_seconds = after_seconds + 1 / fps
        if self.kind == "image":
            yield Frame(first_seconds, _picture(self.what))
            return
        with open_video(self.what, fps=fps, live=False, start_seconds=self.start_seconds) as video:
            for frame in video:
                if frame.pts_seconds > self.end_seconds:
                    return
                yield Frame(first_seconds + frame.pts_seconds - self.start_seconds, frame.image_YXC)


class Watcher:
    """One model that watches what messages show and answers what they ask.

    Settings are those of `hermes-stream ask`. Raises ConfigError, ModelError or PolicyError for those that cannot be.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        memory: str = DEFAULT_MEMORY,
        budget: int | str | None = None,
        chunk: int | None = None,
        fps: float | None = None,
        **loading: Any,
    ) -> None:
        self.engine = Engine(load_adapter(model, **loading))
        self._fps = fps or self.engine.defaults.fps
        # Where a value has commas, lmms-eval wants it in quotes, and hands these over too.
        self._memory, self._budget, self._chunk = memory.strip("\"'"), budget, chunk

    def answer(self, requests: Sequence[tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]]) -> list[Answer]:
        """Answers to (messages, generation settings), in their order. What shows the same is watched once."""
        asked = [(media_of(messages), query_of(messages, settings)) for messages, settings in requests]
        groups: dict[Hashable, list[int]] = {}
        for index, (media, _) in enumerate(asked):
            groups.setdefault(tuple(medium.key for medium in media), []).append(index)
        answers: dict[int, Answer] = {}
        for indices in groups.values():
            queries = [asked[index][1] for index in indices]
            answers.update(zip(indices, self._answer_of(asked[indices[0]][0], queries), strict=True))
        return [answers[index] for index in range(len(requests))]

    def _answer_of(self, media: Sequence[Medium], queries: Sequence[Query]) -> Iterator[Answer]:
        with self.engine.open(self._memory, budget=self._budget, chunk=self._chunk) as session:
            session.watch(self._frames(media))
            for first in range(0, len(queries), _MOST_AT_ONCE):
                streams = [session.ask(query) for query in queries[first : first + _MOST_AT_ONCE]]
                yield from (stream.result() for stream in streams)

    def _frames(self, media: Sequence[Medium]) -> Iterator[Frame]:
        """One after the other, as one stream from 0 on."""
        newest_seconds = -1 / self._fps
        for medium in media:
            for frame in medium.frames(self._fps, newest_seconds):
                yield frame
                newest_seconds = frame.pts_seconds


def media_of(messages: Sequence[Mapping[str, Any]]) -> list[Medium]:
    """Videos and pictures of the messages, in their order. Raises ConfigError for sound."""
    media = []
    for part in _parts(messages):
        if part["type"] == "audio":
            raise ConfigError("a task shows sound, which no model here hears; leave the task out")
        if part["type"] in ("video", "image"):
            start, end = part.get("start_time"), part.get("end_time")
            media.append(Medium(part["type"], part["url"], start or 0.0, math.inf if end is None else end))
    return media


def query_of(messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Query:
    """All texts of the messages as one question; settings as lmms-eval names them."""
    text = "\n".join(part["text"] for part in _parts(messages) if part["type"] == "text")
    until = settings.get("until") or ()
    return Query(
        text,
        max_new_tokens=settings.get("max_new_tokens") or _MAX_NEW_TOKENS,
        temperature=(settings.get("temperature") or 0.0) if settings.get("do_sample", True) else 0.0,
        top_p=settings.get("top_p") or 1.0,
        stop=tuple([until] if isinstance(until, str) else until),
    )


def _parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _picture(what: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if isinstance(what, str | Path):
        with Image.open(what) as image:
            return np.asarray(image.convert("RGB"))
    return np.asarray(what.convert("RGB"))


@cache
def _model_class() -> type:
    from lmms_eval.api.instance import GenerationResult, TokenCounts
    from lmms_eval.api.model import lmms

    class HermesStream(lmms):  # type: ignore[misc]
        """lmms-eval's model.

        Arguments of `--model_args`: `pretrained`, `memory`, `budget`, `chunk`, `fps`, and those of `load_adapter`.
        A memory with commas stands in quotes.
        """

        is_simple = False

        def __init__(
            self,
            pretrained: str = DEFAULT_MODEL,
            batch_size: Any = None,  # noqa: ARG002
            max_batch_size: Any = None,  # noqa: ARG002
            **settings: Any,
        ) -> None:
            super().__init__()
            self.watcher = Watcher(pretrained, **settings)

        @property
        def device(self) -> Any:
            return self.watcher.engine.model.device

        def generate_until(self, requests: Sequence[Any]) -> list[Any]:
            given = [request.args for request in requests]
            asked = [
                (to_messages(self.task_dict[task][split][doc_id]), settings)
                for _, to_messages, settings, doc_id, task, split in given
            ]
            answers = self.watcher.answer(asked)
            for (context, _, settings, *_), answer in zip(given, answers, strict=True):
                self.cache_hook.add_partial("generate_until", (context, settings), answer.text)
            return [
                GenerationResult(
                    text=answer.text,
                    token_counts=TokenCounts(input_tokens=answer.n_prompt_tokens, output_tokens=len(answer.token_ids)),
                )
                for answer in answers
            ]

        def loglikelihood(self, requests: Sequence[Any]) -> Any:
            raise NotImplementedError(
                f"{len(requests)} requests want likelihoods; hermes_stream generates answers only"
            )

        def generate_until_multi_round(self, requests: Sequence[Any]) -> Any:
            raise NotImplementedError(f"{len(requests)} requests have several rounds; hermes_stream answers one")

        def clean(self) -> None:
            super().clean()
            self.watcher.engine.close()

    return HermesStream
