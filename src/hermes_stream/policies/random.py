"""Keep at random: the row that every clever score has to beat.

Shape letters: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, StreamFacts
from hermes_stream.policies.uniform import keep_frames

# splitmix64 (Steele, Lea and Flood, 2014), its unsigned constants as signed numbers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
_SECOND_FACTOR = 0x94D049BB133111EB - 2**64


@dataclass(frozen=True, slots=True)
class RandomState:
    """The frames held after `n_seen` frames. Chance is a function of the seed: there is no generator to carry along."""

    seed: int
    capacity: int
    frames: tuple[int, ...] = ()
    n_seen: int = 0


class Random(Policy):
    """A uniform random sample of everything seen so far, the same in all layers (reservoir sampling).

    Needs: nothing. Budget: rows of each layer.
    Every item gets a random number for life and the smallest numbers stay, which holds each of n items with probability
    C / n, as replacing random slots of a reservoir does.
    unit: "frames" samples whole frames; "tokens" samples within each frame, so that all frames seen hold as many tokens
    as each other, give or take one.
    """

    name: ClassVar[str] = "random"
    is_per_frame: ClassVar[bool] = True

    unit: Literal["frames", "tokens"] = "frames"

    def start(self, stream: StreamFacts) -> RandomState:
        super().start(stream)
        return RandomState(stream.seed, (self.budget_tokens or 0) // max(stream.tokens_per_frame, 1))

    def after_chunk(self, view: MemoryView, state: RandomState) -> tuple[Plan, Any]:
        if self.unit == "tokens":
            return self._sample_tokens(view, state), state
        frames = torch.tensor([*state.frames, *range(state.n_seen, view.frames_seen)], dtype=torch.int64)
        kept = frames[random_numbers(state.seed, frames).argsort()[: state.capacity]]
        held = tuple(sorted(kept.tolist()))
        return keep_frames(view, set(held)), RandomState(state.seed, state.capacity, held, view.frames_seen)

    def _sample_tokens(self, view: MemoryView, state: RandomState) -> Plan:
        layer, n_keep = view.layers[0], self.budget_tokens or 0
        if layer.n_rows <= n_keep:
            return Plan.keep_all()
        rank_N = _rank_in_frame(layer.frame_N, random_numbers(state.seed, layer.identity_N))
        # One token of every frame, then a second one of every frame, and so on; the last round by the frames' numbers.
        by_frame_N = random_numbers(~state.seed, layer.frame_N).argsort(stable=True)
        order_N = by_frame_N[rank_N[by_frame_N].argsort(stable=True)]
        return Plan.same_rows(order_N[:n_keep].sort().values, view.n_layers)


def random_numbers(seed: int, item_N: torch.Tensor) -> torch.Tensor:
    """A 64-bit number for each item, int64 `[N]`; the same for the same seed and item, on every device."""
    seed_1 = torch.tensor([seed % 2**63], dtype=torch.int64, device=item_N.device)
    number_N: torch.Tensor = _mix(_mix(seed_1 + _GOLDEN) + (item_N + 1) * _GOLDEN)
    return number_N


def _mix(x_N: torch.Tensor) -> torch.Tensor:
    """The output function of splitmix64; int64 products wrap around."""
    x_N = (x_N ^ _shift_right(x_N, 30)) * _FIRST_FACTOR
    x_N = (x_N ^ _shift_right(x_N, 27)) * _SECOND_FACTOR
    return x_N ^ _shift_right(x_N, 31)


def _shift_right(x_N: torch.Tensor, n_bits: int) -> torch.Tensor:
    """Logical, not arithmetic."""
    return (x_N >> n_bits) & ((1 << (64 - n_bits)) - 1)


def _rank_in_frame(frame_N: torch.Tensor, number_N: torch.Tensor) -> torch.Tensor:
    """How many rows of the same frame have a smaller number, int64 `[N]`."""
    by_number_N = number_N.argsort()
    by_frame_N = by_number_N[frame_N[by_number_N].argsort(stable=True)]
    sorted_frame_N = frame_N[by_frame_N]
    first_N = torch.searchsorted(sorted_frame_N, sorted_frame_N)
    rank_N = torch.empty_like(frame_N)
    rank_N[by_frame_N] = torch.arange(frame_N.numel(), device=frame_N.device) - first_N
    return rank_N
