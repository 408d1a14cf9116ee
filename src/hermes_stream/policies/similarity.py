"""How much tokens of neighbouring frames resemble each other.

Shape letters: N tokens of one frame, M tokens of the other, E model width.
"""

from __future__ import annotations

import torch
from torch.nn import functional

NO_NEIGHBOUR = 2.0  # as far as opposites: a token with nothing to resemble is a change under any threshold


def cosines(token_NE: torch.Tensor, other_ME: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of all pairs, float32 `[N, M]`; 0 for a vector of zeros."""
    return functional.normalize(token_NE.float(), dim=-1) @ functional.normalize(other_ME.float(), dim=-1).T


def window_distance(
    token_NE: torch.Tensor, cell_N2: torch.Tensor, other_ME: torch.Tensor, other_cell_M2: torch.Tensor
) -> torch.Tensor:
    """1 minus the largest cosine of each token with the 3 x 3 cells around its own in another frame; float32 `[N]`.

    cell_N2: int64, row and column of each token. A token with no other around it is at distance 2.
    Source: FluxMem, the change between neighbouring frames.
    """
    is_near_NM = (cell_N2[:, None] - other_cell_M2[None]).abs().amax(dim=-1) <= 1
    distance_NM = (1 - cosines(token_NE, other_ME)).clamp(min=0)  # rounding puts equals a little below
    distance_NM = distance_NM.masked_fill(~is_near_NM, NO_NEIGHBOUR)
    return torch.cat((distance_NM, distance_NM.new_full((len(token_NE), 1), NO_NEIGHBOUR)), dim=1).amin(dim=1)
