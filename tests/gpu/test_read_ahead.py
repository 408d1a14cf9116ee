"""Rows of the next layer are read beside what a device computes, and are those that would be read without."""

from __future__ import annotations

import pytest
import torch

from hermes_stream.engine.read_ahead import ReadAhead
from hermes_stream.memory.recall import SeenRows

pytestmark = pytest.mark.gpu


def test_rows_read_ahead_are_the_same_rows() -> None:
    device = torch.device("cuda")
    host = [torch.randn(4, 5000, 64).pin_memory() for _ in range(6)]

    def gather(layer_index: int) -> SeenRows:
        rows_KND = host[layer_index].to(device, non_blocking=True)
        return SeenRows(rows_KND, rows_KND * 2)

    ahead = ReadAhead(gather, (device,) * len(host))
    busy = torch.randn(2048, 2048, device=device)
    for index, rows_KND in enumerate(host):
        seen = ahead[index]
        total = seen.keys_KND + seen.values_KND
        busy = busy @ busy / 2048
        assert torch.allclose(total.cpu(), 3 * rows_KND)
