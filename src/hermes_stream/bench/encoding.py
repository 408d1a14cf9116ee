"""Filling long memories quickly: frames of known pictures are encoded once, and answers have a fixed length.

Neither time nor bytes depend on the values of tokens; what is measured then is said to have been filled so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, cycle, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.types import Frame, VisualTokens

_WORDS = ("What", "is", "on", "the", "screen", "now", "and", "what", "was", "there", "before", "it")
REUSED, ENCODED = "reused encodings", "encoded frames"


class BenchAdapter:
    """An adapter that encodes each of these pictures once and whose answers never stop early.

    A picture is known by its identity: a copy of one is encoded as any other frame is. Families whose tokens depend on
    the time of a frame, or on its neighbour, encode all frames. All else is the inner adapter's.
    """

    stop_token_ids: frozenset[int] = frozenset()

    def __init__(self, adapter: Adapter, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self._adapter = adapter
        # Held, so that no identity is given to another picture.
        self._pictures = tuple(pictures)
        self._identities = frozenset(map(id, pictures))
        self._known: dict[tuple[int, bool], VisualTokens] = {}
        facts = adapter.facts
        self._reuses = not facts.has_absolute_time and facts.frames_per_grid == 1

    @property
    def filled_with(self) -> str:
        """Where the tokens of known pictures come from."""
        return REUSED if self._reuses else ENCODED

    def embed(self, frames: Sequence[Frame], *, since_seconds: float, wants_saliency: bool = False) -> VisualTokens:
        return self.embed_clips([Clip(frames, since_seconds)], wants_saliency=wants_saliency)[0]

    def embed_clips(self, clips: Sequence[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        if not self._reuses or not all(self._is_known(frame) for clip in clips for frame in clip.frames):
            return self._adapter.embed_clips(clips, wants_saliency=wants_saliency)
        return [joined([self._encoded(frame, wants_saliency) for frame in clip.frames], clip.frames) for clip in clips]

    def _is_known(self, frame: Frame) -> bool:
        return id(frame.image_YXC) in self._identities

    def _encoded(self, frame: Frame, wants_saliency: bool) -> VisualTokens:
        key = id(frame.image_YXC), wants_saliency
        if key not in self._known:
            self._known[key] = self._adapter.embed([frame], since_seconds=0.0, wants_saliency=wants_saliency)
        return self._known[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


def joined(encoded: Sequence[VisualTokens], frames: Sequence[Frame]) -> VisualTokens:
    """Frames that were encoded one by one, as if together, with the times of these frames.

    For families with one frame a grid and no absolute time.
    """
    first = encoded[0]
    n_positions = [tokens.n_positions for tokens in encoded]
    starts = list(accumulate(n_positions, initial=0))
    n_tokens = [tokens.frame_N.numel() for tokens in encoded]
    times_F = torch.tensor([frame.pts_seconds for frame in frames], dtype=torch.float64)
    saliency = [tokens.saliency_N for tokens in encoded if tokens.saliency_N is not None]
    return replace(
        first,
        embeddings_NE=torch.cat([tokens.embeddings_NE for tokens in encoded]),
        positions_RN=torch.cat(
            [tokens.positions_RN + start for tokens, start in zip(encoded, starts, strict=False)], dim=1
        ),
        n_positions=starts[-1],
        frame_N=torch.arange(len(encoded)).repeat_interleave(torch.tensor(n_tokens)),
        row_N=torch.cat([tokens.row_N for tokens in encoded]),
        column_N=torch.cat([tokens.column_N for tokens in encoded]),
        times_seconds_N=times_F.repeat_interleave(torch.tensor(n_tokens)),
        n_frames=len(encoded),
        n_grids=len(encoded),
        saliency_N=torch.cat(saliency) if saliency else None,
    )


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
