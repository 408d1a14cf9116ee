"""The attention of a forward with static shapes: whatever differs from run to run is on the device.

Shape letters: H query heads, K key/value heads, T rows, R rows of an arena, L layers, N segments, P parts, D head
dimension, E model width.
"""

from __future__ import annotations

import torch

from hermes_stream.engine.graphs.inputs import Offsets, StaticInputs
from hermes_stream.engine.graphs.place import TAIL_CAPACITY
from hermes_stream.memory.arena import Arena
from hermes_stream.memory.backends.flash import packed_attention
from hermes_stream.memory.rope import Rope

# One question keeps few of a device's processors busy: what is held is cut into as many parts, merged afterwards.
_N_PARTS = 8


class StaticBatch:
    """One run: rotates new rows, writes them into their tails, attends to what is held and to the tails.

    is_decode: every segment is one row. Every segment holds something. Nothing here reads a value back or takes a shape
    from one: a recording fixes addresses and shapes only. In a replay each small kernel still takes its microseconds in
    every layer, so rotating and merging are written for few of them.
    """

    deepstack = None

    def __init__(
        self, embeddings_TE: torch.Tensor, inputs: StaticInputs, arena: Arena, rope: Rope, *, is_decode: bool
    ) -> None:
        self.embeddings_TE = embeddings_TE
        self._arena, self._is_decode, self._write_LT = arena, is_decode, inputs.write_LT
        self._cos_TD, sin_TD = rope.tables(inputs.position_RT, embeddings_TE.dtype)
        first_TD, second_TD = sin_TD.chunk(2, dim=-1)
        self._signed_sin_TD = torch.cat((-first_TD, second_TD), dim=-1)
        self._offsets = inputs.offsets()
        # The decode form of the kernel divides the work itself.
        self._n_parts = 1 if is_decode else _N_PARTS
        self._part_cu_q, self._part_start, self._part_len = cut(self._offsets, self._n_parts)

    def attend(
        self,
        layer_index: int,
        query_HTD: torch.Tensor,
        key_KTD: torch.Tensor,
        value_KTD: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Returns `[H, T, D]`."""
        n_heads = query_HTD.shape[0]
        rotated = self._rotate(torch.cat((query_HTD, key_KTD)))
        for stored_RKD, new_KTD in zip(self._arena.rows(layer_index), (rotated[n_heads:], value_KTD), strict=True):
            stored_RKD.index_copy_(0, self._write_LT[layer_index], new_KTD.transpose(0, 1))
        query_THD = rotated[:n_heads].transpose(0, 1)
        held = self._attend_held(layer_index, query_THD, scaling)
        tail = self._attend_tail(layer_index, query_THD, scaling)
        out_PTHD, lse_PHT = (torch.cat(both) for both in zip(held, tail, strict=True))
        return self._merge(out_PTHD, lse_PHT).transpose(0, 1)

    def _rotate(self, x_HTD: torch.Tensor) -> torch.Tensor:
        """As `memory.rope.rotate`."""
        first, second = x_HTD.chunk(2, dim=-1)
        return torch.addcmul(x_HTD * self._cos_TD, torch.cat((second, first), dim=-1), self._signed_sin_TD)

    def _merge(self, out_PTHD: torch.Tensor, lse_PHT: torch.Tensor) -> torch.Tensor:
        """As `memory.backends.flash.merge_parts`, where some part of each row saw something."""
        if self._n_parts > 1:
            # Parts of a short memory may be empty, which +inf says.
            lse_PHT = lse_PHT.masked_fill(lse_PHT == torch.inf, -torch.inf)
        weight_PTH = lse_PHT.softmax(dim=0).transpose(1, 2)
        return (out_PTHD * weight_PTH[..., None]).sum(dim=0).to(out_PTHD.dtype)

    def _attend_held(
        self, layer_index: int, query_THD: torch.Tensor, scaling: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs `[P, T, H, D]` and log-sum-exps `[P, H, T]`: the same queries on each part of what is held."""
        keys_RKD, values_RKD = self._arena.rows(layer_index)
        n_rows, n_heads, head_dim = query_THD.shape
        out_QHD, lse_HQ = packed_attention(
            query_THD.repeat(self._n_parts, 1, 1),
            keys_RKD,
            values_RKD,
            self._part_cu_q,
            self._part_start[layer_index],
            self._part_len[layer_index],
            1 if self._is_decode else n_rows,
            # The kernel divides its work by this number: far more than a session holds would leave most of it idle.
            -(-self._arena.longest_slab // self._n_parts),
            scaling,
            causal=False,
            want_lse=True,
        )
        assert lse_HQ is not None
        lse_PHT = lse_HQ.view(n_heads, self._n_parts, n_rows).transpose(0, 1)
        return out_QHD.view(self._n_parts, n_rows, n_heads, head_dim), lse_PHT

    def _attend_tail(
        self, layer_index: int, query_THD: torch.Tensor, scaling: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Output `[1, T, H, D]` and log-sum-exp `[1, H, T]`: causally, on the tail with its new rows."""
        keys_RKD, values_RKD = self._arena.rows(layer_index)
        out_THD, lse_HT = packed_attention(
            query_THD,
            keys_RKD,
            values_RKD,
            self._offsets.cu_q,
            self._offsets.tail_start[layer_index],
            self._offsets.tail_len[layer_index],
            1 if self._is_decode else query_THD.shape[0],
            TAIL_CAPACITY,
            scaling,
            causal=not self._is_decode,
            want_lse=True,
        )
        assert lse_HT is not None
        return out_THD[None], lse_HT[None]


def cut(offsets: Offsets, n_parts: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Held rows in parts of equal length, for queries repeated as often; part by part, segment by segment.

    Returns int32 cu_q `[P * N + 1]`, starts `[L, P * N + 1]` and lengths `[L, P * N]`; parts may be empty. The segments
    cover all rows of the forward.
    """
    cu_q, start_LN, len_LN = offsets.cu_q, offsets.held_start[:, :-1], offsets.held_len
    part_P = torch.arange(n_parts, dtype=torch.int32, device=cu_q.device)
    per_part_LN = (len_LN + n_parts - 1) // n_parts
    before_LPN = per_part_LN[:, None] * part_P[:, None]
    part_len_LPN = torch.minimum((len_LN[:, None] - before_LPN).clamp(min=0), per_part_LN[:, None])
    part_start_LPN = start_LN[:, None] + before_LPN
    part_cu_q_PN = cu_q[:-1] + part_P[:, None] * cu_q[-1]
    return (
        torch.cat((part_cu_q_PN.flatten(), cu_q[-1:] * n_parts)),
        torch.nn.functional.pad(part_start_LPN.flatten(1), (0, 1)),
        part_len_LPN.flatten(1),
    )
