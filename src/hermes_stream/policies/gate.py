"""A gate for each question: it looks at the newest frames alone where these are enough.

Source: SAVEMem's gate, from its description.

Shape letters: N tokens, E model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.newest import NewestApart
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.relevance import STANDING_QUESTIONS, frame_scores, moved, reads_history
from hermes_stream.policies.wrapper import Wrapper


@dataclass(frozen=True, slots=True, eq=False)
class GateState:
    """What standing questions usually find in the newest frames; these frames' embeddings, with their numbers.

    The embeddings are those at the last interval's end, and only where the store has no features of these frames.
    """

    store: Any
    usual: float | None = None
    embeddings_NE: torch.Tensor | None = None
    frame_N: torch.Tensor | None = None


class Gate(Wrapper):
    """Let a question read only the newest frames where they resemble it enough, and everything where they do not.

    Needs: recent or fresh, the frames' embeddings and the question's. Budget: the store's. A question reads the past
    if its score in the newest frames is below `rho` times the usual one: the mean over these frames and their tokens of
    the largest cosine with the question's tokens. Usual is a running mean, moved by a fifth at each interval's end by
    what five standing questions score, and for a question by its own score; asking changes nothing.

    Around recent, the embeddings of its frames are remembered beside the memory, which costs their bytes.
    rho: the source's numbers were made with 0.1 for questions about now and 2.0 for those about the past, which gives
    away the regime.
    """

    name: ClassVar[str] = "gate"

    rho: float = Field(default=0.9, gt=0)

    @model_validator(mode="after")
    def _check_newest(self) -> Self:
        if self._newest is None:
            raise ValueError(
                "a gate needs newest frames to look at; write recent(frames=4) or fresh(frames=4) before it"
            )
        return self

    @property
    def texts(self) -> tuple[str, ...]:  # type: ignore[override]
        return STANDING_QUESTIONS

    @property
    def needs_features(self) -> bool:  # type: ignore[override]
        return self._newest is None or not self._newest.holds_features

    def start(self, stream: StreamFacts) -> GateState:
        return GateState(super().start(stream))

    def after_chunk(self, view: MemoryView, state: GateState) -> tuple[Plan, GateState]:
        plan, store = super().after_chunk(view, state.store)
        newest_NE, frame_N = self._newest_tokens(view, state)
        usual = state.usual
        if frame_N.numel():
            scores = [_score(newest_NE, frame_N, text_TE) for text_TE in view.texts]
            usual = moved(usual, sum(scores) / len(scores))
        if view.features.n_rows:
            return plan, GateState(store, usual)
        return plan, GateState(store, usual, newest_NE, frame_N)

    def view_for(self, view: MemoryView, state: GateState, asked: torch.Tensor | None) -> ViewSpec:
        spec = super().view_for(view, state.store, asked)
        newest_NE, frame_N = self._newest_tokens(view, state)
        if asked is None or state.usual is None or not frame_N.numel():
            return spec
        if reads_history(_score(newest_NE, frame_N, asked), state.usual, self.rho):
            return spec
        if spec.fresh_rows is not None:
            return ViewSpec(sees_held=False, fresh_rows=spec.fresh_rows)
        return ViewSpec(sees_held=False, first_frame=int(frame_N.min()))

    def recall(self, layer: int, asked: Asked, state: GateState) -> Recalled:
        return super().recall(layer, asked, state.store)

    def settle(self, asked: Sequence[Asked], recalled: Sequence[Recalled], state: GateState) -> Sequence[Recalled]:
        return super().settle(asked, recalled, state.store)

    def forget(self, state: GateState, forgetting: Forgetting, stream: StreamFacts) -> GateState:
        """What is usual begins anew; until the next interval's end questions read everything."""
        store = super().forget(state.store, forgetting, stream)
        if state.embeddings_NE is None or state.frame_N is None:
            return GateState(store)
        frames = forgetting.frames
        stays_N = (state.frame_N < frames.start) | (state.frame_N >= frames.stop)
        return GateState(
            store, None, state.embeddings_NE[stays_N.to(state.embeddings_NE.device)], state.frame_N[stays_N]
        )

    @property
    def _newest(self) -> NewestApart | None:
        """The outermost wrapper inside that sets newest frames apart."""
        inside = self.inner
        while isinstance(inside, Wrapper) and not isinstance(inside, NewestApart):
            inside = inside.inner
        return inside if isinstance(inside, NewestApart) else None

    def _newest_tokens(self, view: MemoryView, state: GateState) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of the newest frames' vision tokens `[N, E]`, and the frame of each."""
        if view.features.n_rows:
            return _vision(view.features)
        embeddings_NE, frame_N = _vision(view.encoded)
        if state.embeddings_NE is not None and state.frame_N is not None:
            if not view.encoded.n_rows:
                return state.embeddings_NE, state.frame_N
            # Frames of the interval so far come behind those that are remembered.
            embeddings_NE = torch.cat((state.embeddings_NE, embeddings_NE))
            frame_N = torch.cat((state.frame_N, frame_N))
        is_newest_N = frame_N >= view.frames_seen - (self._newest.frames if self._newest else 0)
        return embeddings_NE[is_newest_N], frame_N[is_newest_N]


def _vision(features: FeatureView) -> tuple[torch.Tensor, torch.Tensor]:
    is_vision_N = features.kind_N == TokenKind.VISION
    return features.embeddings_NE[is_vision_N.to(features.embeddings_NE.device)], features.frame_N[is_vision_N]


def _score(token_NE: torch.Tensor, frame_N: torch.Tensor, text_TE: torch.Tensor) -> float:
    lengths = frame_N.unique_consecutive(return_counts=True)[1].tolist()
    return float(frame_scores(token_NE, lengths, text_TE).mean())
