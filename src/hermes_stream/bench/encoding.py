"""Filling long memories quickly: frames of known pictures are encoded once, and answers have a fixed length.

Neither time nor bytes depend on the values of tokens; what is measured then is said to have been filled so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.models.adapter import Adapter
from hermes_stream.types import Frame, VisualTokens

_WORDS = ("What", "is", "on", "the", "screen", "now", "and", "what", "was", "there", "before", "it")
REUSED, ENCODED = "reused encodings", "encoded frames"


class BenchAdapter:
    """An adapter that encodes each batch of these pictures once and whose answers never stop early.

    A picture is known by its identity: a copy of one is encoded as any other frame is. Families whose tokens depend on
    the time of a frame encode all frames. All else is the inner adapter's.
    """

    stop_token_ids: frozenset[int] = frozenset()

    def __init__(self, adapter: Adapter, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self._adapter = adapter
        # Held, so that no identity is given to another picture.
        self._pictures = tuple(pictures)
        self._identities = frozenset(map(id, pictures))
        self._known: dict[tuple[tuple[int, ...], bool], VisualTokens] = {}
        self._tells_time = adapter.facts.has_absolute_time or adapter.facts.frames_per_grid > 1

    @property
    def filled_with(self) -> str:
        """Where the tokens of known pictures come from."""
        return ENCODED if self._tells_time else REUSED

    def embed(self, frames: Sequence[Frame], *, since_seconds: float, wants_saliency: bool = False) -> VisualTokens:
        key = tuple(id(frame.image_YXC) for frame in frames), wants_saliency
        if self._tells_time or not self._identities.issuperset(key[0]):
            return self._adapter.embed(frames, since_seconds=since_seconds, wants_saliency=wants_saliency)
        if key not in self._known:
            self._known[key] = self._adapter.embed(frames, since_seconds=since_seconds, wants_saliency=wants_saliency)
        tokens = self._known[key]
        times_F = torch.tensor([frame.pts_seconds for frame in frames], dtype=torch.float64)
        return replace(tokens, times_seconds_N=times_F[tokens.frame_N.cpu()])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


def endless(pictures: Sequence[NDArray[np.uint8]], start: int, stop: int) -> Iterator[Frame]:
    """Frames `[start, stop)` of a stream of one frame a second that shows these pictures over and over."""
    for index in range(start, stop):
        yield Frame(float(index), pictures[index % len(pictures)])


def question_of(adapter: Adapter, n_tokens: int) -> str:
    """A question that takes at most so many tokens with its template, and hardly fewer."""
    n = 1
    while adapter.question(_sentence(n + 1), after_video=True).shape[0] <= n_tokens:
        n += 1
    return _sentence(n)


def _sentence(n: int) -> str:
    return " ".join(islice(cycle(_WORDS), n)) + "?"
