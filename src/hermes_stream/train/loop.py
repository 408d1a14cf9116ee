"""The training loop of question answering on frozen vision features: bfloat16 weights with float32 masters.

Started by torchrun, every process trains on episodes of its own and gradients are averaged. On a CPU, one thread in
each of two processes is faster than two threads in one, above all when other work shares the cores.

Shape letters: B batch, T tokens of a row, S of its stream, Q questions, E model width.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hermes_stream.train.attention import use_training_attention
from hermes_stream.train.collate import NO_LABEL, Batch, Collator, forward
from hermes_stream.train.curriculum import Stage, stage_at
from hermes_stream.train.episodes import Episode, EpisodePlan, FeatureClip, draw_episode
from hermes_stream.train.parallel import average_gradients, of_first_process, process_rank
from hermes_stream.train.tracking import Tracker

# Few steps at the start of a run, so that the optimiser's averages fill.
_FIRST_STEPS = 100
_LAST_RATE_SHARE = 0.03
# About this many tokens of one question and its answer.
_QUESTION_TOKENS = 20
_MOST_ROWS = 24
_TRACKING_WEIGHT = 0.5
_EVIDENCE_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the learning curve.

    loss: mean since the last line. accuracy: held-out questions of each task with all answer tokens right.
    """

    seconds: float
    step: int
    loss: float
    accuracy: dict[str, float]


class Trainer:
    """Trains text model, head and newline for a given time; the vision tower stays as it is.

    clips: training clips; held_out: clips for the learning curve, of other seeds.
    """

    def __init__(
        self,
        model: Any,
        collator: Collator,
        clips: Sequence[FeatureClip],
        held_out: Sequence[FeatureClip],
        *,
        seed: int,
        learning_rate: float = 1e-3,
    ) -> None:
        self.model = model.bfloat16()
        use_training_attention(model)
        model.requires_grad_(False)
        newline = collator.family.newline(model)
        for part in (model.model.language_model, model.lm_head, *([] if newline is None else [newline])):
            part.requires_grad_(True)
        self._tracker = Tracker(model.config.text_config.hidden_size).bfloat16()
        trained = [*model.parameters(), *self._tracker.parameters()]
        self._optimizer = _MasterWeights([weight for weight in trained if weight.requires_grad], learning_rate)
        self._collator = collator
        self._clips = clips
        self._held_out = held_out
        self._rng = np.random.default_rng((seed, process_rank()))
        self.step = 0

    def run(
        self,
        seconds: float,
        on_progress: Callable[[Progress], None],
        *,
        report_seconds: float = 150.0,
        from_share: float = 0.0,
    ) -> None:
        """Walk through the curriculum in the given time.

        from_share: where to begin when an earlier run is continued, in shares of the curriculum.
        """
        began = last_report = time.monotonic()
        losses: list[float] = []
        while (elapsed := of_first_process(time.monotonic() - began)) < seconds:
            share = from_share + (1 - from_share) * elapsed / seconds
            losses.append(
                self.train_step(stage_at(share), _rate_factor(share) * min(1.0, (self.step + 1) / _FIRST_STEPS))
            )
            if process_rank() == 0 and time.monotonic() - last_report >= report_seconds:
                stage = stage_at(share)
                accuracy = self.evaluate(stage.plan) | self.evaluate(stage.guidance, n_batches=2)
                on_progress(Progress(elapsed, self.step, sum(losses) / len(losses), accuracy))
                last_report, losses = time.monotonic(), []

    def train_step(self, stage: Stage, rate_factor: float) -> float:
        """One batch; returns its loss."""
        plan = stage.guidance if self._rng.random() < stage.guidance_share else stage.plan
        batch = self._collator(self._draw(self._clips, plan, self._rng, stage.batch_tokens))
        logits, stream_BSE = forward(self._collator.family, self.model, batch)
        is_label = batch.label_BT != NO_LABEL
        losses = F.cross_entropy(logits.float(), batch.label_BT[is_label], reduction="none")
        weights = batch.weight_BT[is_label]
        loss = (losses * weights).sum() / weights.sum()
        tracked = self._tracker.loss(stream_BSE, batch.grid_end_BG, batch.tracked_BGK)
        evidence = batch.evidence.loss()
        (loss + _TRACKING_WEIGHT * tracked + _EVIDENCE_WEIGHT * evidence).backward()
        self._optimizer.step(rate_factor)
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def evaluate(self, plan: EpisodePlan, *, n_batches: int = 8) -> dict[str, float]:
        """Share of held-out questions whose answer tokens are all right, per task, nothing evicted."""
        rng = np.random.default_rng(1)
        right: dict[str, list[bool]] = defaultdict(list)
        plain = EpisodePlan(plan.n_grids, plan.n_questions, plan.tasks)
        for _ in range(n_batches):
            episodes = self._draw(self._held_out, plain, rng, 1600)
            batch = self._collator(episodes)
            for task, is_right in _graded(forward(self._collator.family, self.model, batch)[0], batch, episodes):
                right[task].append(is_right)
        return {task: sum(values) / len(values) for task, values in sorted(right.items())}

    def _draw(
        self, clips: Sequence[FeatureClip], plan: EpisodePlan, rng: np.random.Generator, batch_tokens: int
    ) -> list[Episode]:
        """Episodes of one length, as many as fit."""
        low, high = plan.n_grids
        n_grids = int(rng.integers(low, high + 1))
        clip = clips[int(rng.integers(len(clips)))]
        n_rows = batch_tokens // (n_grids * self._collator.span_tokens(clip) + plan.n_questions * _QUESTION_TOKENS)
        n_rows = min(max(n_rows, 1), _MOST_ROWS)
        episodes: list[Episode] = []
        while len(episodes) < n_rows:
            episode = draw_episode(clip, plan, rng, n_grids)
            if episode is not None:
                episodes.append(episode)
            clip = clips[int(rng.integers(len(clips)))]
        return episodes


class _MasterWeights:
    """AdamW on float32 copies of bfloat16 weights."""

    def __init__(self, weights: list[torch.nn.Parameter], learning_rate: float) -> None:
        self._weights = weights
        self._masters = [weight.detach().float().requires_grad_() for weight in weights]
        decayed = [master for master in self._masters if master.ndim > 1]
        plain = [master for master in self._masters if master.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)
        self._learning_rate = learning_rate

    def step(self, rate_factor: float) -> None:
        """Clip, update the masters, round them to the weights, and clear the gradients."""
        for master, weight in zip(self._masters, self._weights, strict=True):
            master.grad = torch.zeros_like(master) if weight.grad is None else weight.grad.float()
            weight.grad = None
        average_gradients(self._masters)
        torch.nn.utils.clip_grad_norm_(self._masters, 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * rate_factor
        self._optimizer.step()
        with torch.no_grad():
            for weight, master in zip(self._weights, self._masters, strict=True):
                weight.copy_(master)


def _rate_factor(share: float) -> float:
    """A plateau over the first third, then a cosine down."""
    plateau_until = 0.35
    if share < plateau_until:
        return 1.0
    done = (share - plateau_until) / (1 - plateau_until)
    return _LAST_RATE_SHARE + (1 - _LAST_RATE_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


def _graded(logits: torch.Tensor, batch: Batch, episodes: Sequence[Episode]) -> list[tuple[str, bool]]:
    """Task and verdict of every question of a batch; right means every answer token."""
    is_wrong_BT = torch.zeros_like(batch.label_BT, dtype=torch.bool)
    is_label = batch.label_BT != NO_LABEL
    is_wrong_BT[is_label] = logits.argmax(-1) != batch.label_BT[is_label]
    n_tokens = batch.visibility.n_question_tokens
    wrong_BQ = is_wrong_BT[:, batch.n_stream :].unflatten(1, (-1, n_tokens)).any(-1).tolist()
    return [
        (asked.task, not wrong_BQ[row][number])
        for row, episode in enumerate(episodes)
        for number, asked in enumerate(episode.asked)
    ]
