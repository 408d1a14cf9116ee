"""Spread over time: frames at even distances since the beginning, or an even thinning of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, StreamFacts


@dataclass(frozen=True, slots=True)
class UniformState:
    """The frames held, all multiples of `stride`, after `n_seen` frames. capacity: how many frames may be held."""

    capacity: int
    frames: tuple[int, ...] = ()
    stride: int = 1
    n_seen: int = 0

    def seen(self, frame: int) -> UniformState:
        """A causal dyadic reservoir: when it is full, every second frame goes and the stride doubles."""
        frames, stride = self.frames, self.stride
        while frame % stride == 0 and len(frames) >= self.capacity:
            frames, stride = frames[::2], 2 * stride
        if frame % stride == 0:
            frames = (*frames, frame)
        return UniformState(self.capacity, frames, stride, frame + 1)


class Uniform(Policy):
    """Frames (or tokens) spread evenly over everything seen so far.

    Needs: nothing. Budget: rows of each layer; the same rows in all layers.
    unit: "frames" holds whole frames at exactly even distances, between half of what fits and all of it. "tokens" thins
    the rows to the budget at each interval's end; repeated thinning is not uniform in time: what is old fades away
    geometrically, and the very first rows never do.
    newest: (frames) hold the newest frame too; one frame less is then spread.
    form: (tokens) "linspace" keeps rounded points from the first row to the last, "floor" row floor(j n / C), which
    never keeps the last one.
    """

    name: ClassVar[str] = "uniform"
    is_per_frame: ClassVar[bool] = True

    unit: Literal["frames", "tokens"] = "frames"
    newest: bool = False
    form: Literal["linspace", "floor"] = "linspace"

    def start(self, stream: StreamFacts) -> UniformState:
        super().start(stream)
        capacity = (self.budget_tokens or 0) // max(stream.tokens_per_frame, 1) - self.newest
        if self.unit == "frames" and capacity < 1:
            raise PolicyError(
                f"uniform: a budget of {self.budget_tokens} tokens has no room beside the newest frame; "
                f"give at least {2 * stream.tokens_per_frame}"
            )
        return UniformState(capacity)

    def after_chunk(self, view: MemoryView, state: UniformState) -> tuple[Plan, Any]:
        if self.unit == "tokens":
            return self._thin(view), state
        after = state
        for frame in range(state.n_seen, view.frames_seen):
            after = after.seen(frame)
        newest = (view.frames_seen - 1,) if self.newest else ()
        return keep_frames(view, {*after.frames, *newest}), after

    def _thin(self, view: MemoryView) -> Plan:
        n_rows, n_keep = view.layers[0].n_rows, self.budget_tokens or 0
        if n_rows <= n_keep:
            return Plan.keep_all()
        spread = _linspace_rows if self.form == "linspace" else _floor_rows
        return Plan.same_rows(spread(n_rows, n_keep, view.layers[0].table.data_CHN.device), view.n_layers)


def keep_frames(view: MemoryView, frames: set[int]) -> Plan:
    """Keep the rows of the given frames in all layers; the identity if no row goes."""
    frame_N = view.layers[0].frame_N
    held_N = torch.tensor(sorted(frames), dtype=frame_N.dtype, device=frame_N.device)
    keep_N = torch.isin(frame_N, held_N).nonzero()[:, 0]
    if keep_N.numel() == frame_N.numel():
        return Plan.keep_all()
    return Plan.same_rows(keep_N, view.n_layers)


def _floor_rows(n_rows: int, n_keep: int, device: torch.device) -> torch.Tensor:
    """floor(j n / C)."""
    return torch.arange(n_keep, device=device) * n_rows // n_keep


def _linspace_rows(n_rows: int, n_keep: int, device: torch.device) -> torch.Tensor:
    """C points from 0 to n - 1, rounded half up, in integers."""
    steps = max(n_keep - 1, 1)
    return (2 * torch.arange(n_keep, device=device) * (n_rows - 1) + steps) // (2 * steps)
