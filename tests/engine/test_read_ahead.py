"""Without a device that computes beside copying, rows are gathered when they are wanted, and once."""

from __future__ import annotations

import torch

from hermes_stream.engine.read_ahead import ReadAhead
from hermes_stream.memory.recall import SeenRows


def test_on_a_cpu_each_layer_is_gathered_when_it_is_wanted_and_once() -> None:
    gathered: list[int] = []

    def gather(layer_index: int) -> SeenRows:
        gathered.append(layer_index)
        rows_KND = torch.full((1, 2, 3), float(layer_index))
        return SeenRows(rows_KND, rows_KND)

    ahead = ReadAhead(gather, (torch.device("cpu"),) * 3)
    assert ahead[1].keys_KND.eq(1).all()
    assert gathered == [1]
    assert ahead[1] is ahead[1]
    assert ahead[2].values_KND.eq(2).all()
    assert gathered == [1, 2]
