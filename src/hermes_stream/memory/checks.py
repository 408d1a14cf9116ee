"""Conditions that a plan's tensors must meet."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hermes_stream.errors import PlanError

# Where a tensor's values are already in the host's memory.
_FREE_TO_READ = frozenset({"cpu"})


def is_free_to_read(device: torch.device) -> bool:
    """Whether values on a device are in the host's memory, so that looking at them waits for nothing."""
    return device.type in _FREE_TO_READ


def require(condition: torch.Tensor, what: str, details: Callable[[], str] | None = None) -> None:
    """Raise PlanError unless a bool of one element holds.

    what: one line for people. details: more of it, from values; only called where reading them is free.
    On an accelerator nothing is read back: the device checks for itself, after this function has returned, and a broken
    condition ends the process's work on that device with an error of PyTorch that quotes `what`.
    """
    if not is_free_to_read(condition.device):
        torch._assert_async(condition, what)
    elif not bool(condition):
        raise PlanError(what if details is None else details())
