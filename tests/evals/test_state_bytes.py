"""Bytes of a policy's state, counted by hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hermes_stream.evals.state_bytes import state_bytes


@dataclass(frozen=True)
class State:
    keys: torch.Tensor
    older: tuple[State, ...] = ()
    seed: int = 7


def test_tensors_at_any_depth_count_once() -> None:
    small, large = State(torch.zeros(3, dtype=torch.float16)), torch.zeros(2, 5)
    assert state_bytes(None) == 0
    assert state_bytes((3, 0.5, "word", True)) == 0
    assert state_bytes(large) == 40
    assert state_bytes((large, State(large, (small, small)))) == 46
