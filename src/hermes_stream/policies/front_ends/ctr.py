"""CTR: the same few tokens of every frame, by saliency where the picture changes and by clusters where it rests.

Source: StreamingTOM's causal temporal reduction, from the formulas of its paper.

Shape letters: N vision tokens of one grid, S its static ones, M those that are left, E model width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.errors import PlanError
from hermes_stream.policies.front_ends.base import FrontEnd, Grid, Reduction, SeenGrid
from hermes_stream.policies.front_ends.dtd import same_cell_cosine

_N_NEIGHBOURS = 7
_OWN_WEIGHT = 0.6  # of a centre, beside the mean of the tokens that it stands for


class Ctr(FrontEnd):
    """Reduce each frame to the same number of tokens: the salient ones of what moves, clusters of what rests.

    Needs: the attention that the vision encoder pays to each patch (LLaVA-OneVision).
    keep: tokens per frame: their share up to 1, their number above. The source's 50 of 196 is the default.
    static: a token is static if its cosine with the same cell of the frame before is larger.

    The static tokens' part of what stays is their part of the frame. Dynamic ones stay by saliency. Static ones form
    clusters around density peaks among their 7 nearest neighbours; of each the centre stays, mixed 0.6 to 0.4 with the
    mean of the others, so that cells are merged. The first frame is all dynamic. Distances are divided by the root of
    the width, as where such clusters come from; each token belongs to its nearest centre; of equal ones the earlier.
    """

    name: ClassVar[str] = "ctr"
    needs_saliency: ClassVar[bool] = True
    merges: ClassVar[bool] = True

    keep: float = Field(default=0.255, gt=0)
    static: float = Field(default=0.9, ge=-1, le=1)

    def tokens_after(self, n_tokens: int) -> int:
        wanted = self.keep if self.keep > 1 else self.keep * n_tokens
        return min(max(round(wanted), 1), n_tokens)

    def reduce(self, grid: Grid, state: SeenGrid | None) -> tuple[Reduction, Any]:
        if grid.saliency_N is None:
            raise PlanError("ctr needs the vision encoder's attention, but the grid has none")
        n_left = self.tokens_after(grid.n_tokens)
        is_static_N = torch.zeros(grid.n_tokens, dtype=torch.bool, device=grid.cell_N2.device)
        if state is not None:
            is_static_N = same_cell_cosine(grid, state) > self.static
        static_S, dynamic_N = is_static_N.nonzero()[:, 0], (~is_static_N).nonzero()[:, 0]
        n_static, n_dynamic = static_and_dynamic(n_left, static_S.shape[0], grid.n_tokens)
        by_saliency_N = grid.saliency_N[dynamic_N].argsort(descending=True, stable=True)
        salient_N = dynamic_N[by_saliency_N[:n_dynamic]]
        centre_S, mix_SS = cluster(grid.embeddings_NE[static_S].float(), n_static)
        mix_MN = torch.zeros(n_left, grid.n_tokens, device=grid.cell_N2.device)
        mix_MN[:n_static, static_S] = mix_SS
        mix_MN[torch.arange(n_static, n_left), salient_N] = 1.0
        keep_N, order_M = torch.cat((static_S[centre_S], salient_N)).sort()
        return Reduction(keep_N, mix_MN[order_M]), SeenGrid.of(grid)


def static_and_dynamic(n_left: int, n_static: int, n_tokens: int) -> tuple[int, int]:
    """k_s and k_d: how many static and how many dynamic tokens stay. Never more than there are: n_left is at most N."""
    k_static = n_left * n_static // n_tokens
    return k_static, n_left - k_static


def cluster(token_SE: torch.Tensor, n_clusters: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Density peaks: the centres' rows, int64 `[C]`, and what they become, as weights of all rows, float32 `[C, S]`.

    A row's density is exp of minus its mean squared distance to its nearest neighbours; centres are the rows of largest
    density times distance to the nearest denser row (of the densest: to the farthest row).
    """
    n = token_SE.shape[0]
    if n_clusters == 0:
        return token_SE.new_zeros(0, dtype=torch.int64), token_SE.new_zeros(0, n)
    distance_SS = (
        torch.cdist(token_SE, token_SE, compute_mode="donot_use_mm_for_euclid_dist") / token_SE.shape[1] ** 0.5
    )
    density_S = _density(distance_SS)
    peak_S = density_S * _distance_to_denser(distance_SS, density_S)
    centre_C = peak_S.argsort(descending=True, stable=True)[:n_clusters]
    nearest_S = distance_SS[:, centre_C].argmin(dim=1)
    nearest_S[centre_C] = torch.arange(n_clusters, device=centre_C.device)  # a centre is its own, even among its equals
    is_member_CS = nearest_S == torch.arange(n_clusters, device=centre_C.device)[:, None]
    is_centre_CS = torch.zeros_like(is_member_CS).scatter_(1, centre_C[:, None], True)
    is_other_CS = is_member_CS & ~is_centre_CS
    n_others_C1 = is_other_CS.sum(dim=1, keepdim=True)
    own_C1 = torch.where(n_others_C1 > 0, _OWN_WEIGHT, 1.0)
    mix_CS = is_centre_CS * own_C1 + is_other_CS * (1 - own_C1) / n_others_C1.clamp(min=1)
    return centre_C, mix_CS


def _density(distance_SS: torch.Tensor) -> torch.Tensor:
    n_neighbours = min(_N_NEIGHBOURS, distance_SS.shape[0] - 1)
    if n_neighbours == 0:
        return distance_SS.new_ones(1)
    others_SS = distance_SS.clone().fill_diagonal_(torch.inf)
    nearest_SN = others_SS.topk(n_neighbours, dim=1, largest=False).values
    return torch.exp(-nearest_SN.square().mean(dim=1))


def _distance_to_denser(distance_SS: torch.Tensor, density_S: torch.Tensor) -> torch.Tensor:
    """Of two equally dense rows the earlier one counts as denser, so that exactly one row has none above it."""
    row_S = torch.arange(density_S.shape[0], device=density_S.device)
    is_denser_SS = (density_S > density_S[:, None]) | ((density_S == density_S[:, None]) & (row_S < row_S[:, None]))
    nearest_S = distance_SS.masked_fill(~is_denser_SS, torch.inf).amin(dim=1)
    return torch.where(is_denser_SS.any(dim=1), nearest_S, distance_SS.amax(dim=1))
