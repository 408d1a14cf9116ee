"""How work on a device is recorded once and run again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

# Kernels that are loaded, and libraries that choose their way, at the first call must have done so before a capture.
_N_WARM_UPS = 2


class Recorder(Protocol):
    """Records work that reads its inputs from buffers, and writes its results to tensors, with addresses that last."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Run the work at least once; returns what runs it again with what the buffers hold then.

        Raises whatever the work raises where it cannot be recorded.
        """
        ...


class CallAgain:
    """For devices without graphs: what was recorded is the work itself."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        return work


class CudaGraphs:
    """CUDA graphs that share one memory pool: results last until any of them runs again."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with torch.cuda.device(self._device):
            self._warm_up(work)
            graph = torch.cuda.CUDAGraph()
            # Other threads (decoding, vision) go on meanwhile: only this one must not wait for the device.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                work()
        # A capture runs nothing: this gives the first result, and finds what cannot be replayed.
        graph.replay()
        replay: Callable[[], None] = graph.replay
        return replay

    def _warm_up(self, work: Callable[[], None]) -> None:
        """On the side stream, as a capture demands, behind and before everything else."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(_N_WARM_UPS):
                work()
        current.wait_stream(self._stream)
