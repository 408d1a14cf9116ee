"""Slabs whose heads are spread over several processes, each of which holds those that its part of the model computes.

The first rank alone knows what rows mean. What it does to a slab it has done everywhere, by the functions here, which
every rank runs in the same order.

Shape letters: S what a row is stored as, K key/value heads, N rows, D head dimension, R position axes, H table heads
(1 or K).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import distributed

from hermes_stream.memory.rope import Rope
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import Slab


@dataclass(slots=True, eq=False)
class Shard:
    """What one rank holds: by number, slabs with its own heads.

    rope, dtype, device: of its part of the model.
    """

    rank: int
    n_ranks: int
    rope: Rope
    dtype: torch.dtype
    device: torch.device
    slabs: dict[int, Slab] = field(default_factory=dict, init=False)

    def of_heads(self, x: torch.Tensor, dim: int = 0) -> torch.Tensor:
        """Of a tensor with all heads along an axis this rank's; the whole where all heads share one."""
        if x.shape[dim] == 1:
            return x
        return x.chunk(self.n_ranks, dim)[self.rank]

    def gather(self, x: torch.Tensor, dim: int = 0) -> torch.Tensor:
        """On the first rank, all heads of what every rank has of its own; elsewhere what was given."""
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(self.n_ranks)] if self.rank == 0 else None
        distributed.gather(x, parts)
        return x if parts is None else torch.cat(parts, dim)

    def keep(self, number: int, source: int, slab: Slab) -> None:
        """Note what was made of a slab, unless it is the same one."""
        if slab is not self.slabs[source]:
            self.slabs[number] = slab


class Ranks(Protocol):
    """All processes of a model, as the first of them sees them.

    shard: its own. later: run a function of a shard here, and on the others before anything that comes after. now: the
    same, and wait for nobody to send it; for functions in which ranks wait for one another.
    """

    shard: Shard

    def later(self, function: Callable[..., Any], *values: Any) -> Any: ...

    def now(self, function: Callable[..., Any], *values: Any) -> Any: ...

    def new_number(self) -> int: ...

    def forget(self, number: int) -> None:
        """Nobody uses this slab any more; from any thread."""
        ...


class ShardedSlab(Slab):
    """A slab as the first rank uses it: sizes and rows are those of all heads, wherever they are.

    Reading rows gathers them, which is meant for policies that look at keys and for snapshots; attention reads each
    rank's own.
    """

    def __init__(self, ranks: Ranks, number: int) -> None:
        self._ranks, self.number = ranks, number
        self._local = ranks.shard.slabs[number]
        weakref.finalize(self, ranks.forget, number).atexit = False

    @property
    def n_used(self) -> int:
        return self._local.n_used

    @n_used.setter
    def n_used(self, n: int) -> None:
        self._ranks.later(_set_used, self.number, n)

    @property
    def keeps_raw(self) -> bool:
        return self._local.keeps_raw

    @property
    def capacity(self) -> int:
        return self._local.capacity

    @property
    def bytes_per_row(self) -> int:
        return self._local.bytes_per_row * self._ranks.shard.n_ranks

    def keys(self, n: int) -> torch.Tensor:
        return self.rows(n)[0]

    def values(self, n: int) -> torch.Tensor:
        return self.rows(n)[1]

    def raw_keys(self, n: int) -> torch.Tensor:
        return self.rows(n)[2]

    def rows(self, n: int) -> torch.Tensor:
        rows_SKND: torch.Tensor = self._ranks.now(_gather_rows, self.number, n)
        return rows_SKND

    def of_parts(self, parts: tuple[torch.Tensor, ...]) -> ShardedSlab:
        (rows_SKND,) = parts
        return self._made(_of_rows, rows_SKND)

    def beside(self, capacity: int, *, keep_raw: bool) -> ShardedSlab:
        return self._made(_beside, capacity, keep_raw)

    def claim(self, n_held: int, n_new: int) -> ShardedSlab:
        return self._made(_claim, n_held, n_new)

    def write(self, start: int, rotated_KND: torch.Tensor, value_KND: torch.Tensor, raw_KND: torch.Tensor) -> None:
        self._ranks.later(_write, self.number, start, rotated_KND, value_KND, raw_KND)

    def select(self, rows: torch.Tensor, capacity: int) -> ShardedSlab:
        return self._made(_select, rows, capacity)

    def replace_keys(self, rotated_KND: torch.Tensor) -> None:
        self._ranks.later(_replace_keys, self.number, rotated_KND)

    def rotate_keys(self, position_RHN: torch.Tensor, rope: Rope) -> None:  # noqa: ARG002
        self._ranks.later(_rotate_keys, self.number, position_RHN)

    def mean_rows(self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        raw_KPD, value_KPD = self._ranks.now(_mean_rows, self.number, parts)
        return raw_KPD, value_KPD

    def _made(self, function: Callable[..., None], *values: Any) -> ShardedSlab:
        """What every rank makes of its own slab; this one where that is the same."""
        number = self._ranks.new_number()
        self._ranks.later(function, number, self.number, *values)
        return ShardedSlab(self._ranks, number) if number in self._ranks.shard.slabs else self


class ShardedBackend:
    """Heads are spread over ranks; each attends with PyTorch's operators."""

    name = "sharded"

    def __init__(self, ranks: Ranks) -> None:
        self.reason = f"PyTorch's operators on each of {ranks.shard.n_ranks} devices, over its own heads"
        self._ranks = ranks

    def empty_slab(self, shape: MemoryShape, layer_index: int, capacity: int, *, keep_raw: bool) -> Slab:  # noqa: ARG002
        number = self._ranks.new_number()
        self._ranks.later(_empty, number, shape.n_kv_heads, shape.head_dim, capacity, keep_raw)
        return ShardedSlab(self._ranks, number)


def drop_slabs(shard: Shard, numbers: list[int]) -> None:
    """Give back what nobody uses any more."""
    for number in numbers:
        del shard.slabs[number]


def _empty(shard: Shard, number: int, n_kv_heads: int, head_dim: int, capacity: int, keep_raw: bool) -> None:
    n_heads = n_kv_heads // shard.n_ranks
    shard.slabs[number] = Slab.empty(
        n_heads, head_dim, capacity, dtype=shard.dtype, device=shard.device, keep_raw=keep_raw
    )


def _beside(shard: Shard, number: int, source: int, capacity: int, keep_raw: bool) -> None:
    shard.keep(number, source, shard.slabs[source].beside(capacity, keep_raw=keep_raw))


def _claim(shard: Shard, number: int, source: int, n_held: int, n_new: int) -> None:
    shard.keep(number, source, shard.slabs[source].claim(n_held, n_new))


def _select(shard: Shard, number: int, source: int, rows: torch.Tensor, capacity: int) -> None:
    own = rows if rows.dim() == 1 else shard.of_heads(rows)
    shard.keep(number, source, shard.slabs[source].select(own, capacity))


def _of_rows(shard: Shard, number: int, source: int, rows_SKND: torch.Tensor) -> None:
    own_SKND = rows_SKND.chunk(shard.n_ranks, 1)[shard.rank].to(shard.device)
    shard.keep(number, source, shard.slabs[source].of_parts((own_SKND.contiguous(),)))


def _write(
    shard: Shard,
    number: int,
    start: int,
    rotated_KND: torch.Tensor,
    value_KND: torch.Tensor,
    raw_KND: torch.Tensor,
) -> None:
    rotated, value, raw = (x.chunk(shard.n_ranks)[shard.rank] for x in (rotated_KND, value_KND, raw_KND))
    shard.slabs[number].write(start, rotated, value, raw)


def _replace_keys(shard: Shard, number: int, rotated_KND: torch.Tensor) -> None:
    shard.slabs[number].replace_keys(rotated_KND.chunk(shard.n_ranks)[shard.rank])


def _rotate_keys(shard: Shard, number: int, position_RHN: torch.Tensor) -> None:
    shard.slabs[number].rotate_keys(shard.of_heads(position_RHN, 1).to(shard.device), shard.rope)


def _mean_rows(
    shard: Shard, number: int, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[torch.Tensor, torch.Tensor]:
    means_SKPD = shard.gather(torch.stack(shard.slabs[number].mean_rows(parts)), 1)
    return means_SKPD[0], means_SKPD[1]


def _set_used(shard: Shard, number: int, n: int) -> None:
    shard.slabs[number].n_used = n


def _gather_rows(shard: Shard, number: int, n: int) -> torch.Tensor:
    return shard.gather(shard.slabs[number].rows(n), 1)
