"""Floating-point operations of one compression interval, from sizes and from what runs.

Chunk and probe are matrix products and counted from sizes (`models.flops`). Scoring, eviction and re-placement are few
and differ between policies: they are counted as they run, each element of each arithmetic operation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hermes_stream.memory.attention import BLOCK_QUERIES
from hermes_stream.models.flops import TextSizes

_SUMS = frozenset({torch.ops.aten.mean.dim, torch.ops.aten.sum.dim_IntList, torch.ops.aten.sum.default})
# Tagged as working element by element, but without arithmetic.
_CHOICES = frozenset({torch.ops.aten.clone.default, torch.ops.aten.where.self, torch.ops.aten.masked_fill.Scalar})


def chunk_flops(sizes: TextSizes, n_held: Sequence[int], n_new: int) -> int:
    """The text model on a chunk of frames. n_held: rows of each layer before it, prefix included."""
    return sizes.linear(n_new) + sum(sizes.attention(n_new * (n + n_new)) for n in n_held)


def probe_flops(sizes: TextSizes, n_rows: Sequence[int], n_tokens: int, weighed: Collection[int] | None = None) -> int:
    """A guidance prompt run over the memory. n_rows: of each layer with the chunk, prefix included.

    weighed: layers whose attention is wanted, by default all. Their queries go through in blocks, each of which sees
    the prompt up to its own end; those of other layers see all of it, masked.
    """
    ends = [(start, min(start + BLOCK_QUERIES, n_tokens)) for start in range(0, n_tokens, BLOCK_QUERIES)]
    in_blocks = sum((end - start) * end for start, end in ends)
    n_own_pairs = [in_blocks if weighed is None or layer in weighed else n_tokens**2 for layer in range(len(n_rows))]
    n_pairs = [n_tokens * n + own for n, own in zip(n_rows, n_own_pairs, strict=True)]
    return sizes.linear(n_tokens) + sum(map(sizes.attention, n_pairs))


def shortcut_flops(sizes: TextSizes, n_rows: Sequence[int], n_tokens: int) -> int:
    """The released shortcut on the given layers: queries, keys and values of raw embeddings, and scores."""
    return sum(sizes.projections(n_tokens) + sizes.scores(n_tokens * (n + n_tokens)) for n in n_rows)


class ArithmeticCounter(TorchDispatchMode):
    """While active, adds up additions, multiplications and functions of floating-point numbers.

    Copies, gathers, sorts and comparisons are none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # In inference mode operators that are made of others arrive whole.
        with self:
            out = function.decompose(*args, **(kwargs or {}))
        if out is not NotImplemented:
            return out
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.bmm.default:
            self.n_operations += 2 * out.numel() * args[0].shape[-1]
        elif function in _SUMS:
            self.n_operations += args[0].numel() * args[0].is_floating_point()
        elif torch.Tag.pointwise in function.tags and function not in _CHOICES and isinstance(out, torch.Tensor):
            self.n_operations += out.numel() * out.is_floating_point()
        return out
