"""StreamMem: what the chat template's own tokens attend to, and one prototype of each new frame.

Source: StreamMem, from the formulas of its paper; no code of it is public.

Shape letters: N rows of one layer after its prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch

from hermes_stream.errors import PlanError
from hermes_stream.memory.plan import LayerPlan, Plan, Prototype
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy, Probe, StreamFacts
from hermes_stream.policies.hermes_scores import top_rows
from hermes_stream.types import Turn

_PROBE = "template"


class StreamMem(Policy):
    """Keep the rows that the end of a user's turn and the start of an answer attend to, and a prototype of each frame.

    Needs: attention of one probe, only in intervals that evict. Budget: rows of each layer, prototypes included (the
    paper does not say); at most half of it goes to new prototypes, those of the newest frames.

    When a layer holds more than its budget, old and new rows compete by the attention that the probe pays them, mean
    over its tokens and all heads; each frame of the interval also becomes one row, the mean of its keys and values by
    the same attention, in the middle of the frame. From then on prototypes are rows like others, and are evicted as
    such. Ties go to the newer row. Text between frames competes but is in no prototype.

    question: a text of yours in the probe instead of none; the paper ablates a generic one.
    prototype: "weighted" by attention, a plain "mean", or "none": the paper's ablation.

    Differs from the paper: the softmax also runs over the prefix and the probe's own tokens, as a true question's does;
    no prototypes below the budget, where nothing is lost. Not here: merging neighbouring frames whose features resemble
    each other (cosine above 0.95), which comes before the text model and fits any policy; YaRN, which is the model's
    affair. Positions stay until the model's run out, and then close up.
    """

    name: ClassVar[str] = "streammem"

    question: str = ""
    prototype: Literal["weighted", "mean", "none"] = "weighted"

    def start(self, stream: StreamFacts) -> int:
        """The state: frames seen when the last interval ended."""
        super().start(stream)
        return 0

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:  # noqa: ARG002
        if max(n_rows) <= (self.budget_tokens or 0):
            return ()
        return (Probe(_PROBE, self.question, range(stream.n_layers), kind="question"),)

    def after_chunk(self, view: MemoryView, state: int) -> tuple[Plan, int]:
        first, budget = view.layers[0], self.budget_tokens or 0
        if max(layer.n_rows for layer in view.layers) <= budget:
            return Plan.keep_all(), view.frames_seen
        frames = [] if self.prototype == "none" else _rows_by_frame(first, state)
        frames = frames[len(frames) - min(len(frames), budget // 2) :]
        # New rows are the last ones of every layer, of which forgetting may have left more rows in some than in others.
        plans = [
            self._layer_plan(layer, [rows_N + (layer.n_rows - first.n_rows) for rows_N in frames])
            for layer in view.layers
        ]
        return Plan(tuple(plans)), view.frames_seen

    def _layer_plan(self, layer: LayerView, frames: Sequence[torch.Tensor]) -> LayerPlan:
        if _PROBE not in layer.mass:
            raise PlanError(f"streammem needs the attention of its probe, but the view has {sorted(layer.mass)}")
        attention_N = layer.mass[_PROBE].mean(dim=0)
        keep_N, _ = top_rows(attention_N, (self.budget_tokens or 0) - len(frames))
        weight_N = attention_N if self.prototype == "weighted" else torch.ones_like(attention_N)
        # Attention that underflows in a whole frame leaves a plain mean.
        weight_N = weight_N.clamp(min=torch.finfo(torch.float32).tiny)
        return LayerPlan(keep_N, prototypes=tuple(Prototype(rows_N, weight_N[rows_N]) for rows_N in frames))


def _rows_by_frame(layer: LayerView, first_frame: int) -> list[torch.Tensor]:
    """The vision rows of each frame from the given one on."""
    rows_N = ((layer.frame_N >= first_frame) & (layer.kind_N == TokenKind.VISION)).nonzero()[:, 0]
    _, n_rows_F = layer.frame_N[rows_N].unique_consecutive(return_counts=True)
    return list(rows_N.split(n_rows_F.tolist()))
