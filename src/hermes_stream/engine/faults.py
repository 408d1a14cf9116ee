"""What may go wrong in a step, told apart: memory that runs out, and numbers that are none.

Shape letters: P signals of a policy, A answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from hermes_stream.errors import LimitError, SessionError
from hermes_stream.memory.checks import is_free_to_read

# What PyTorch's CPU allocator says in a plain RuntimeError.
_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")
# Stands for a token where logits are not finite, so that one read of the device tells both.
NO_TOKEN = -1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller forward may succeed where this one failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_ALLOCATOR)


def for_asker(error: BaseException) -> BaseException:
    """What somebody is told whose question failed."""
    if not is_out_of_memory(error):
        return error
    told = LimitError(
        "memory ran out for an answer; ask a shorter question, or when others are answered, or give a smaller budget"
    )
    told.__cause__ = error
    return told


def stopped(what: str, time_seconds: float) -> SessionError:
    """The error of a session whose numbers went wrong."""
    return SessionError(
        f"the session was stopped: {what} not finite at {time_seconds:.1f} s; what it had committed can still be saved "
        "with snapshot()"
    )


def token_or_none(token_A: torch.Tensor, logits_AV: torch.Tensor) -> torch.Tensor:
    """The chosen tokens, with `NO_TOKEN` where logits are not finite: int64 `[A]`, on the device."""
    return token_A.where(logits_AV.isfinite().all(dim=-1), NO_TOKEN)


class Doubt:
    """Whether signals are finite, asked of the device and read when it has answered: nobody waits for it."""

    def __init__(self, signals: Mapping[str, Collection[torch.Tensor]]) -> None:
        """signals: the tensors of each, by the name that people know it by; at least one."""
        self._names = tuple(signals)
        # A sum is as finite as what it adds up: one small number for each tensor.
        sums = [[tensor.sum(dtype=torch.float64) for tensor in tensors] for tensors in signals.values()]
        device = sums[0][0].device
        self._is_fine_P = torch.stack([torch.stack([s.to(device) for s in each]).isfinite().all() for each in sums])
        self._event: torch.cuda.Event | None = None
        if self._is_fine_P.is_cuda:
            host_P = torch.empty(len(self._names), dtype=torch.bool, pin_memory=True)
            self._is_fine_P = host_P.copy_(self._is_fine_P, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(device))
        self._is_free = is_free_to_read(device)

    @property
    def is_free(self) -> bool:
        """Whether the answer is there already."""
        return self._is_free

    def failed(self) -> tuple[str, ...] | None:
        """Names of the signals that are not finite; None as long as the device has not said."""
        if self._is_fine_P.is_meta:
            return ()
        if self._event is not None and not self._event.query():
            return None
        return tuple(name for name, is_fine in zip(self._names, self._is_fine_P.tolist(), strict=True) if not is_fine)


def check_doubts(doubts: Sequence[Doubt], time_seconds: float) -> tuple[Doubt, ...]:
    """Those that are still open. Raises SessionError for signals that were not finite."""
    answers = [doubt.failed() for doubt in doubts]
    failed = [name for answer in answers if answer for name in answer]
    if failed:
        raise stopped(f"what the policy was to decide by ({', '.join(failed)}) was", time_seconds)
    return tuple(doubt for doubt, answer in zip(doubts, answers, strict=True) if answer is None)
