"""What was made on one stream of a device and is read on another."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def take_over(tensors: Iterable[torch.Tensor | None], ready: torch.cuda.Event) -> None:
    """Let the device's current stream, not the host, wait until tensors of another stream are there."""
    for tensor in tensors:
        if tensor is not None:
            current = torch.cuda.current_stream(tensor.device)
            current.wait_event(ready)
            # Its storage is the other stream's, which must not give it away before this one has read it.
            tensor.record_stream(current)
