"""The attention of segments that see other rows than their version holds, or are asked what they see.

With PyTorch's operators, wherever the rows stand. Shape letters: H query heads, K key/value heads, T new tokens, N seen
rows, M own rows of a tail, D head dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hermes_stream.memory.attention import attend_with_tail, attention_by_head
from hermes_stream.memory.backends.base import Projected
from hermes_stream.memory.recall import SeenRows
from hermes_stream.memory.rope import Rope

if TYPE_CHECKING:
    from hermes_stream.engine.batch import CommitSegment, TailSegment


def attend_recalling(layer_index: int, segment: CommitSegment, new: Projected, scaling: float) -> torch.Tensor:
    """New frames that see what the policy recalls for them, and each other; `[H, T, D]`."""
    assert segment.sees is not None
    segment.pending.write(layer_index, new.key_KTD, new.value_KTD, new.raw_key_KTD)
    seen = segment.sees.seen(layer_index, new.raw_query_HTD, new.query_HTD)
    return _attend_seen(new.query_HTD, seen, new.key_KTD, new.value_KTD, scaling)


def attend_asking(layer_index: int, segment: TailSegment, new: Projected, scaling: float, rope: Rope) -> torch.Tensor:
    """A question that recalls, brings frames that stand apart, or whose attention is wanted; `[H, T, D]`."""
    own, n_apart = segment.own(layer_index), segment.n_apart
    own.slab.write(own.n_held - segment.n_rows, new.key_KTD, new.value_KTD, new.raw_key_KTD)
    seen = segment.tail.held(layer_index, new.raw_query_HTD, new.query_HTD)
    if segment.is_read(layer_index):
        read_HTD = new.query_HTD[:, -segment.n_read :]
        segment.attention[layer_index] = attention_by_head(
            read_HTD, seen.keys_KND, own.keys, scaling, visible_KN=seen.visible_KN
        )
    out_HTD = _attend_seen(new.query_HTD[:, n_apart:], seen, own.keys, own.values, scaling)
    if not n_apart:
        return out_HTD
    prefix = segment.tail.base.prefix_moved(layer_index, segment.apart_distance, rope)
    apart = new.key_KTD[:, :n_apart], new.value_KTD[:, :n_apart]
    apart_HTD, _ = attend_with_tail(new.query_HTD[:, :n_apart], *prefix, *apart, scaling)
    return torch.cat((apart_HTD, out_HTD), dim=1)


def _attend_seen(
    query_HTD: torch.Tensor, seen: SeenRows, tail_key_KMD: torch.Tensor, tail_value_KMD: torch.Tensor, scaling: float
) -> torch.Tensor:
    out_HTD, _ = attend_with_tail(
        query_HTD,
        seen.keys_KND,
        seen.values_KND,
        tail_key_KMD,
        tail_value_KMD,
        scaling,
        visible_KN=seen.visible_KN,
    )
    return out_HTD
