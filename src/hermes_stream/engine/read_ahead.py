"""Reading archived rows for the next layer while a device computes this one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hermes_stream.memory.recall import SeenRows


class ReadAhead:
    """Gathers rows before they are wanted, on a stream of the device beside its computations.

    Where there is no such stream, rows are gathered when they are wanted.
    """

    def __init__(self, gather: Callable[[int], SeenRows], devices: tuple[torch.device, ...]) -> None:
        """gather: all that a layer sees. devices: of each layer."""
        self._gather, self._devices = gather, devices
        self._gathered: dict[int, tuple[SeenRows, torch.cuda.Event | None]] = {}

    def __getitem__(self, layer_index: int) -> SeenRows:
        """What a layer sees, gathered once; the next layer's rows are on their way after it."""
        if layer_index not in self._gathered:
            self._gathered[layer_index] = self._gather(layer_index), None
        rows, ready = self._gathered[layer_index]
        if ready is not None:
            current = torch.cuda.current_stream(self._devices[layer_index])
            current.wait_event(ready)
            for tensor in (rows.keys_KND, rows.values_KND, rows.visible_KN):
                if tensor is not None:
                    # Its storage is the other stream's, which must not give it away before this one has read it.
                    tensor.record_stream(current)
        self._start(layer_index + 1)
        return rows

    def _start(self, layer_index: int) -> None:
        if layer_index >= len(self._devices) or layer_index in self._gathered:
            return
        device = self._devices[layer_index]
        if device.type != "cuda":
            return
        stream = torch.cuda.Stream(device)
        # Rows that were just archived may still be on their way.
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._gathered[layer_index] = self._gather(layer_index), stream.record_event()
