"""HERMES: shallow layers keep what is new, deep layers what matters, layers between weigh both.

Source: HERMES, arXiv 2601.14724, and its released code. Formulas are in `hermes_scores`, prompts in `hermes_prompts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from hermes_stream.errors import PlanError, PolicyError
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy, Probe, StreamFacts, Turn
from hermes_stream.policies.hermes_prompts import global_prompt, mixed_prompt
from hermes_stream.policies.hermes_scores import LayerGroups, RecencySchedule, mix_scores, smooth, top_rows

_MIXED, _GLOBAL = "mixed", "global"

_PAPER_SCHEDULE = RecencySchedule(weight=0.75, weight_drop=0.6, decay_shallow=20.0, decay=20.0, decay_drop=12.0)
_RELEASED_LLAVA_SCHEDULE = RecencySchedule(weight=1.0, weight_drop=0.9, decay_shallow=20.0, decay=20.0, decay_drop=19.5)


@dataclass(frozen=True, slots=True)
class HermesState:
    """What `Hermes.start` found out; it never changes: all memory of HERMES is in the rows themselves."""

    stream: StreamFacts
    groups: LayerGroups
    schedule: RecencySchedule


class Hermes(Policy):
    """Per-layer eviction: early layers keep the newest tokens, late layers those that a guidance prompt attends to.

    Needs: attention of two guidance prompts, only in intervals that evict. The paper's third, for shallow layers, has
    weight 0 there and is not run. Budget: rows of each layer after the prefix, summaries included.

    Presets: `paper` is the default; where the paper is silent, the constants are those that its released code has for
    Qwen. `released` takes the constants, the smoothing and the trigger of the released code. Not expressed by it:
    pseudo-queries from raw embeddings, the start position of each layer, half-precision rounding, and compaction only
    after the position limit was passed.

    Layers
        ratios: shares of shallow, middle and deep layers. borders: first middle and first deep layer instead.
    Scores
        schedule: constants of recency, "paper" or "released" (these differ between model families). Each of weight,
        weight_drop, decay_shallow, decay and decay_drop replaces one of them.
        history: quote the last remembered turn in the prompts.
    Smoothing
        smoothing: "one-step" mixes with the next layer's raw score (paper), "recursive" with its smoothed one
        (released). match: tokens of two layers meet by "identity", or by row "index" (paper and released, although
        rows mean different tokens from the second eviction on). smooth_*: lambda of each group.
    Eviction
        trigger: "video" counts rows after the prefix (paper), "prefix" those before too, in layer 0 (released).
        summary: "deep" folds what a deep layer evicts into one token (paper). summary_weight: "equal" is the paper's;
        "count" weighs an old summary by the tokens that it stands for.
        reindex: "lazy" moves tokens only when positions run out, "eager" at each eviction.
    """

    name: ClassVar[str] = "hermes"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "released": {"schedule": "released", "smoothing": "recursive", "match": "index", "trigger": "prefix"},
    }

    ratios: tuple[float, float, float] = (0.1, 0.6, 0.3)
    borders: tuple[int, int] | None = None

    schedule: Literal["paper", "released"] = "paper"
    weight: float | None = Field(default=None, ge=0, le=1)
    weight_drop: float | None = Field(default=None, ge=0, le=1)
    decay_shallow: float | None = Field(default=None, gt=0)
    decay: float | None = Field(default=None, gt=0)
    decay_drop: float | None = Field(default=None, ge=0)
    history: bool = True

    smoothing: Literal["one-step", "recursive", "none"] = "one-step"
    match: Literal["identity", "index"] = "identity"
    smooth_shallow: float = Field(default=0.1, ge=0, le=1)
    smooth_middle: float = Field(default=0.3, ge=0, le=1)
    smooth_deep: float = Field(default=0.4, ge=0, le=1)

    trigger: Literal["video", "prefix"] = "video"
    summary: Literal["deep", "none"] = "deep"
    summary_weight: Literal["equal", "count"] = "equal"
    reindex: Literal["lazy", "eager"] = "lazy"

    @model_validator(mode="after")
    def _check_ratios(self) -> Self:
        if min(self.ratios) < 0 or abs(sum(self.ratios) - 1) > 1e-6:
            raise ValueError(f"ratios are {self.ratios}; expected three shares of the layers that add up to 1")
        return self

    def with_layers(self, borders: tuple[int, int]) -> Self:
        if self.model_fields_set & {"ratios", "borders"}:
            raise PolicyError("two groupings of the layers: in the options of hermes and beside them; give one")
        return self.model_copy(update={"borders": borders})

    def start(self, stream: StreamFacts) -> HermesState:
        super().start(stream)
        return HermesState(stream, self._groups(stream.n_layers), self._schedule(stream.family))

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:
        groups = self._groups(stream.n_layers)
        if not self._evicts(n_rows, groups, stream):
            return ()
        turn = history[-1] if self.history and history else None
        probes = (
            Probe(_MIXED, mixed_prompt(turn), groups.middle),
            Probe(_GLOBAL, global_prompt(turn), groups.deep),
        )
        return tuple(probe for probe in probes if probe.layers)

    def after_chunk(self, view: MemoryView, state: HermesState) -> tuple[Plan, HermesState]:
        if not self._evicts([layer.n_rows for layer in view.layers], state.groups, state.stream):
            return Plan.keep_all(), state
        scores = self.smoothed(self.scores(view, state), view, state)
        layers = tuple(self._layer_plan(layer, score_N, state.groups) for layer, score_N in enumerate(scores))
        return Plan(layers, Positions.COMPACT if self.reindex == "eager" else Positions.KEEP), state

    def layer_groups(self, n_layers: int) -> dict[str, range]:
        groups = self._groups(n_layers)
        return {"shallow": range(groups.shallow_end), "middle": groups.middle, "deep": groups.deep}

    def scores(self, view: MemoryView, state: HermesState) -> list[torch.Tensor]:
        """S of every layer before smoothing, float32 `[N]` each."""
        return [self._layer_score(index, layer, state) for index, layer in enumerate(view.layers)]

    def smoothed(self, scores: Sequence[torch.Tensor], view: MemoryView, state: HermesState) -> list[torch.Tensor]:
        """S~ of every layer: each token's score mixed with the next layer's, from deep to shallow."""
        if self.smoothing == "none":
            return list(scores)
        lambdas = [
            state.groups.pick(layer, self.smooth_shallow, self.smooth_middle, self.smooth_deep)
            for layer in range(view.n_layers)
        ]
        identities = [layer.identity_N for layer in view.layers] if self.match == "identity" else None
        return smooth(scores, identities, lambdas, is_recursive=self.smoothing == "recursive")

    def _layer_score(self, index: int, layer: LayerView, state: HermesState) -> torch.Tensor:
        attention_N = None
        if index >= state.groups.shallow_end:
            attention_N = _attention(layer, _MIXED if index < state.groups.deep_start else _GLOBAL)
        return mix_scores(
            attention_N,
            layer.n_rows,
            state.schedule.weight_of(index, state.groups),
            state.schedule.decay_of(index, state.groups),
            layer.table.data_CHN.device,
        )

    def _layer_plan(self, layer: int, score_N: torch.Tensor, groups: LayerGroups) -> LayerPlan:
        keep_N, evicted_N = top_rows(score_N, self._n_keep(layer, groups))
        if evicted_N.numel() and self._has_summary(layer, groups):
            return LayerPlan(keep_N, (Fold(evicted_N, self.summary_weight),))
        return LayerPlan(keep_N)

    def _n_keep(self, layer: int, groups: LayerGroups) -> int:
        """K: the budget, less the slot of a summary."""
        return (self.budget_tokens or 0) - self._has_summary(layer, groups)

    def _has_summary(self, layer: int, groups: LayerGroups) -> bool:
        return self.summary == "deep" and layer in groups.deep

    def _evicts(self, n_rows: Sequence[int], groups: LayerGroups, stream: StreamFacts) -> bool:
        """Whether the trigger holds and a layer holds more rows than it may keep."""
        n_counted = max(n_rows) if self.trigger == "video" else stream.prefix_tokens + n_rows[0]
        if n_counted <= (self.budget_tokens or 0):
            return False
        return any(n > self._n_keep(layer, groups) for layer, n in enumerate(n_rows))

    def _groups(self, n_layers: int) -> LayerGroups:
        shallow, middle, _ = self.ratios
        shallow_end, deep_start = self.borders or (int(shallow * n_layers), int((shallow + middle) * n_layers))
        if not 0 <= shallow_end <= deep_start <= n_layers:
            raise PolicyError(
                f"hermes: borders ({shallow_end}, {deep_start}) do not divide {n_layers} layers; "
                f"expected 0 <= first middle layer <= first deep layer <= {n_layers}"
            )
        return LayerGroups(shallow_end, deep_start, n_layers)

    def _schedule(self, family: str) -> RecencySchedule:
        is_released_llava = self.schedule == "released" and "llava" in family.lower()
        given = _RELEASED_LLAVA_SCHEDULE if is_released_llava else _PAPER_SCHEDULE
        schedule = RecencySchedule(
            weight=given.weight if self.weight is None else self.weight,
            weight_drop=given.weight_drop if self.weight_drop is None else self.weight_drop,
            decay_shallow=given.decay_shallow if self.decay_shallow is None else self.decay_shallow,
            decay=given.decay if self.decay is None else self.decay,
            decay_drop=given.decay_drop if self.decay_drop is None else self.decay_drop,
        )
        if schedule.weight_drop > schedule.weight or schedule.decay_drop > schedule.decay:
            raise PolicyError(
                f"hermes: recency would count negatively in late middle layers: weight {schedule.weight} falls by "
                f"{schedule.weight_drop}, decay {schedule.decay} by {schedule.decay_drop}; lower the drop"
            )
        return schedule


def _attention(layer: LayerView, probe: str) -> torch.Tensor:
    """a: a probe's attention to each row, mean over heads, float32 `[N]`."""
    if probe not in layer.mass:
        raise PlanError(f"hermes needs the attention of its probe {probe!r}, but the view has {sorted(layer.mass)}")
    return layer.mass[probe].float().mean(dim=0)
