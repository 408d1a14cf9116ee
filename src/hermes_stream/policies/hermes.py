"""HERMES: shallow layers keep what is new, deep layers what matters, layers between weigh both.

Source: HERMES, arXiv 2601.14724, and its released code. Formulas are in `hermes_scores`, prompts in `hermes_prompts`.

Shape letters: L layers, N rows of one layer after its prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from hermes_stream.errors import PlanError, PolicyError
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy, Probe, StreamFacts
from hermes_stream.policies.hermes_prompts import PROMPTS, global_prompt, mixed_prompt
from hermes_stream.policies.hermes_scores import LayerGroups, RecencySchedule, mix_scores, recency, smooth, top_rows
from hermes_stream.types import Turn

_MIXED, _GLOBAL = "mixed", "global"

_PAPER_SCHEDULE = RecencySchedule(weight=0.75, weight_drop=0.6, decay_shallow=20.0, decay=20.0, decay_drop=12.0)
_RELEASED_LLAVA_SCHEDULE = RecencySchedule(weight=1.0, weight_drop=0.9, decay_shallow=20.0, decay=20.0, decay_drop=19.5)


@dataclass(frozen=True, slots=True)
class HermesState:
    """What `Hermes.start` found out; it never changes: all memory of HERMES is in the rows themselves.

    budgets_L: rows that each layer may hold after the prefix.
    """

    stream: StreamFacts
    groups: LayerGroups
    schedule: RecencySchedule
    budgets_L: tuple[int, ...]


class Hermes(Policy):
    """Per-layer eviction: early layers keep the newest tokens, late layers those that a guidance prompt attends to.

    Needs: attention of two guidance prompts, only in intervals that evict. The paper's third, for shallow layers, has
    weight 0 there and is not run. Budget: rows of each layer after the prefix, summaries included.

    Presets: `paper` is the default; where the paper is silent, the constants are those that its released code has for
    Qwen. `released` selects as the released code does. Not expressed by it: the start position of each layer,
    half-precision rounding, and compaction only after the position limit was passed.

    Layers
        ratios: shares of shallow, middle and deep layers. borders: first middle and first deep layer instead.
        shares: how the budget is divided among the groups, as weights of one of their layers; the mean over all layers
        stays the budget (1,1,1 is the paper's default, its ablation has 1.3,1,0.7 and others).
    Scores
        schedule: constants of recency, "paper" or "released" (these differ between model families). Each of weight,
        weight_drop, decay_shallow, decay and decay_drop replaces one of them.
        distance: a row's age as a share of all rows ("relative", released), or in rows ("rows").
        attention: of a "true" forward of the prompts (paper), or of queries from their raw "embedding" (released).
        prompts: "paper", or one of its ablation. own_prompts: two texts of yours instead, for what is new and for the
        whole; equal ones are run once. history: quote the last remembered turn in the prompts.
    Smoothing
        smoothing: "one-step" mixes with the next layer's raw score (paper), "recursive" with its smoothed one
        (released). match: tokens of two layers meet by "identity", or by row "index" (paper and released, although
        rows mean different tokens from the second eviction on). smooth_*: lambda of each group.
    Eviction
        trigger: "video" counts rows after the prefix (paper), "prefix" those before too, in layer 0 (released).
        summary: which layers fold what they evict into one token: "deep" (paper's ablation), "all", "none".
        summary_weight: "equal" is the paper's; "count" weighs an old summary by the tokens that it stands for.
        summary_place: at the "end", where the release puts it, or at the "mean" position of what it stands for.
        merge_summaries: an old summary always goes into the new one, so that a layer holds one.
    Positions
        reindex: "lazy" moves tokens only when positions run out, "eager" at each eviction.
        compaction: with three axes, "grid" moves time alone, "ranks" numbers each axis of each layer by itself (paper
        and released).
    """

    name: ClassVar[str] = "hermes"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "released": {
            "schedule": "released",
            "attention": "embedding",
            "smoothing": "recursive",
            "match": "index",
            "trigger": "prefix",
            "compaction": "ranks",
        },
    }

    ratios: tuple[float, float, float] = (0.1, 0.6, 0.3)
    borders: tuple[int, int] | None = None
    shares: tuple[float, float, float] = (1.0, 1.0, 1.0)

    schedule: Literal["paper", "released"] = "paper"
    weight: float | None = Field(default=None, ge=0, le=1)
    weight_drop: float | None = Field(default=None, ge=0, le=1)
    decay_shallow: float | None = Field(default=None, gt=0)
    decay: float | None = Field(default=None, gt=0)
    decay_drop: float | None = Field(default=None, ge=0)
    distance: Literal["relative", "rows"] = "relative"
    attention: Literal["true", "embedding"] = "true"
    prompts: Literal["paper", "what-happens", "describe", "summarize"] = "paper"
    own_prompts: tuple[str, str] | None = None
    history: bool = True

    smoothing: Literal["one-step", "recursive", "none"] = "one-step"
    match: Literal["identity", "index"] = "identity"
    smooth_shallow: float = Field(default=0.1, ge=0, le=1)
    smooth_middle: float = Field(default=0.3, ge=0, le=1)
    smooth_deep: float = Field(default=0.4, ge=0, le=1)

    trigger: Literal["video", "prefix"] = "video"
    summary: Literal["deep", "all", "none"] = "deep"
    summary_weight: Literal["equal", "count"] = "equal"
    summary_place: Literal["end", "mean"] = "end"
    merge_summaries: bool = False

    reindex: Literal["lazy", "eager"] = "lazy"
    compaction: Literal["grid", "ranks"] = "grid"

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if min(self.ratios) < 0 or abs(sum(self.ratios) - 1) > 1e-6:
            raise ValueError(f"ratios are {self.ratios}; expected three shares of the layers that add up to 1")
        if min(self.shares) <= 0:
            raise ValueError(f"shares are {self.shares}; expected three weights above 0, as in (1.3, 1, 0.7)")
        if self.own_prompts is not None and (self.prompts != "paper" or not all(map(str.strip, self.own_prompts))):
            raise ValueError("own_prompts are two texts, for what is new and for the whole, and replace prompts")
        return self

    def with_layers(self, borders: tuple[int, int]) -> Self:
        if self.model_fields_set & {"ratios", "borders"}:
            raise PolicyError("two groupings of the layers: in the options of hermes and beside them; give one")
        return self.model_copy(update={"borders": borders})

    @property
    def reads_history(self) -> bool:  # type: ignore[override]
        return self.history

    @property
    def placement(self) -> Positions:
        return Positions.RANKS if self.compaction == "ranks" else Positions.COMPACT

    def layer_budgets(self, n_layers: int) -> tuple[int, ...]:
        groups, budget = self._groups(n_layers), self.budget_tokens or 0
        weights_L = [groups.pick(layer, *self.shares) for layer in range(n_layers)]
        # Rounded down, but not where a float falls short of a whole number.
        return tuple(int(budget * weight * n_layers / sum(weights_L) + 1e-6) for weight in weights_L)

    def start(self, stream: StreamFacts) -> HermesState:
        super().start(stream)
        budgets_L = self.layer_budgets(stream.n_layers)
        return HermesState(stream, self._groups(stream.n_layers), self._schedule(stream.family), budgets_L)

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:
        groups = self._groups(stream.n_layers)
        if not self._evicts(n_rows, groups, stream):
            return ()
        turn = history[-1] if self.history and history else None
        whole = global_prompt(turn, self._texts)
        if self._is_one_prompt:
            probes = [Probe(_GLOBAL, whole, range(groups.shallow_end, groups.n_layers), self.attention)]
        else:
            mixed = mixed_prompt(turn, self._texts)
            probes = [
                Probe(_MIXED, mixed, groups.middle, self.attention),
                Probe(_GLOBAL, whole, groups.deep, self.attention),
            ]
        return tuple(probe for probe in probes if probe.layers)

    def after_chunk(self, view: MemoryView, state: HermesState) -> tuple[Plan, HermesState]:
        if not self._evicts([layer.n_rows for layer in view.layers], state.groups, state.stream):
            return Plan.keep_all(), state
        scores = self.smoothed(self.scores(view, state), view, state)
        layers = tuple(
            self._layer_plan(index, layer, score_N, state)
            for index, (layer, score_N) in enumerate(zip(view.layers, scores, strict=True))
        )
        return Plan(layers, self.placement if self.reindex == "eager" else Positions.KEEP), state

    def layer_groups(self, n_layers: int) -> dict[str, range]:
        groups = self._groups(n_layers)
        return {"shallow": range(groups.shallow_end), "middle": groups.middle, "deep": groups.deep}

    def scores(self, view: MemoryView, state: HermesState) -> list[torch.Tensor]:
        """S of every layer before smoothing, `[N]` each, float32 at least."""
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

    @property
    def _texts(self) -> tuple[str, str]:
        return self.own_prompts or PROMPTS[self.prompts]

    @property
    def _is_one_prompt(self) -> bool:
        return self._texts[0] == self._texts[1]

    def _layer_score(self, index: int, layer: LayerView, state: HermesState) -> torch.Tensor:
        groups, attention_N = state.groups, None
        if index >= groups.shallow_end:
            is_mixed = index < groups.deep_start and not self._is_one_prompt
            attention_N = _attention(layer, _MIXED if is_mixed else _GLOBAL)
        recency_N = recency(
            layer.n_rows,
            state.schedule.decay_of(index, groups),
            layer.table.data_CHN.device,
            is_relative=self.distance == "relative",
        )
        return mix_scores(attention_N, recency_N, state.schedule.weight_of(index, groups))

    def _layer_plan(self, index: int, layer: LayerView, score_N: torch.Tensor, state: HermesState) -> LayerPlan:
        has_summary = self._has_summary(index, state.groups)
        if has_summary and self.merge_summaries:
            score_N = score_N.masked_fill(layer.kind_N == TokenKind.SUMMARY, float("-inf"))
        keep_N, evicted_N = top_rows(score_N, state.budgets_L[index] - has_summary)
        if evicted_N.numel() and has_summary:
            return LayerPlan(keep_N, (Fold(evicted_N, self.summary_weight, self.summary_place),))
        return LayerPlan(keep_N)

    def _has_summary(self, layer: int, groups: LayerGroups) -> bool:
        return self.summary == "all" or (self.summary == "deep" and layer in groups.deep)

    def _evicts(self, n_rows: Sequence[int], groups: LayerGroups, stream: StreamFacts) -> bool:
        """Whether the trigger holds and a layer holds more rows than it may keep."""
        budgets_L = self.layer_budgets(stream.n_layers)
        if self.trigger == "video":
            return any(n > budget for n, budget in zip(n_rows, budgets_L, strict=True))
        if stream.prefix_tokens + n_rows[0] <= budgets_L[0]:
            # Forgetting may have left layer 0 with fewer rows than others.
            return any(n > budget for n, budget in zip(n_rows, budgets_L, strict=True))
        return any(
            n > budget - self._has_summary(layer, groups)
            for layer, (n, budget) in enumerate(zip(n_rows, budgets_L, strict=True))
        )

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
    """a: a probe's attention to each row, mean over heads, `[N]`, as exact as it came."""
    if probe not in layer.mass:
        raise PlanError(f"hermes needs the attention of its probe {probe!r}, but the view has {sorted(layer.mass)}")
    return layer.mass[probe].mean(dim=0)
