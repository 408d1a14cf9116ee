"""Training in several processes, as torchrun starts them; with a single one everything here is the identity."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist


def start_processes() -> None:
    """Join the processes that torchrun started, if it did, with one thread each so that they do not fight for cores."""
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo")
        torch.set_num_threads(1)


def process_rank() -> int:
    """0 in the first process and where there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def n_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average_gradients(weights: Sequence[torch.Tensor]) -> None:
    """Replace every gradient by its mean over the processes; all of them must hold gradients for the same weights."""
    if not dist.is_initialized():
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = (flat / dist.get_world_size()).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def of_first_process(number: float) -> float:
    """The first process's number, so that all of them take the same decision."""
    if not dist.is_initialized():
        return number
    shared = torch.tensor([number], dtype=torch.float64)
    dist.broadcast(shared, src=0)
    return float(shared.item())


def wait_for_all() -> None:
    """Return once every process has come here."""
    of_first_process(0.0)
