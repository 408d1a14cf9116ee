"""Reading archived rows for the next layer while a device computes this one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hermes_stream.engine.side_stream import take_over
from hermes_stream.memory.recall import SeenRows


class ReadAhead:
    """Gathers rows before they are wanted, on a stream of the device beside its computations.

    Where there is no such stream, rows are gathered when they are wanted.
    """

    def __init__(self, gather: Callable[[int], SeenRows], devices: tuple[torch.device, ...]) -> None:
        """gather: all that a layer sees. devices: of each layer."""
        self._gather, self._devices = gather, devices
        self._seen: dict[int, SeenRows] = {}
        # Of one layer at a time: rows on their way, and when they will be there.
        self._coming: tuple[int, SeenRows, torch.cuda.Event] | None = None
        self._streams = {device: torch.cuda.Stream(device) for device in set(devices) if device.type == "cuda"}

    def __getitem__(self, layer_index: int) -> SeenRows:
        """What a layer sees, gathered once; the next layer's rows are on their way after it."""
        if layer_index not in self._seen:
            self._seen[layer_index] = self._arrived(layer_index)
            self._start(layer_index + 1)
        return self._seen[layer_index]

    def _arrived(self, layer_index: int) -> SeenRows:
        coming, self._coming = self._coming, None
        if coming is None or coming[0] != layer_index:
            return self._gather(layer_index)
        _, rows, ready = coming
        take_over((rows.keys_KND, rows.values_KND, rows.visible_KN), ready)
        return rows

    def _start(self, layer_index: int) -> None:
        if layer_index >= len(self._devices) or layer_index in self._seen:
            return
        device = self._devices[layer_index]
        stream = self._streams.get(device)
        if stream is None:
            return
        # Rows that were just archived may still be on their way.
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._coming = layer_index, self._gather(layer_index), stream.record_event()
