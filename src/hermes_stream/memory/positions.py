"""Where tokens stand after an eviction, and where the next one will.

Shape letters: R position axes, H heads with rows of their own, N tokens.
"""

from __future__ import annotations

import torch

from hermes_stream.memory.token_table import TokenTable


def compact_positions(table: TokenTable, n_prefix: int) -> torch.Tensor:
    """Left compaction in one dimension: the prefix stays, what follows it becomes contiguous (HERMES, 3.9).

    Returns int64 `[1, H, N]`. Models with several position axes are not handled here yet.
    """
    position_RHN = table.position_RHN
    if position_RHN.shape[0] != 1:
        raise NotImplementedError("compaction of several position axes")
    ranks_N = torch.arange(n_prefix, table.n_tokens, device=position_RHN.device)
    compacted_RHN = position_RHN.clone()
    compacted_RHN[..., n_prefix:] = ranks_N
    return compacted_RHN


def next_free_position(table: TokenTable) -> int:
    """One past the largest position on any axis; 0 for an empty table."""
    return int(table.position_RHN.max()) + 1 if table.n_tokens else 0
