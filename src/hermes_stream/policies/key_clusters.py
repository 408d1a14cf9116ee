"""Keys in clusters by random hyperplanes, and the clusters that a query's mass demands (V-Rex's ReSV).

Shape letters: S sets of clusters, one for each key/value head of each layer, T new rows, N archived rows, C clusters, B
hyperplanes, R query rows, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# New rows that are compared with each other at one time: bounds their T x T distances.
_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class KeyClusters:
    """Clusters of archived keys, set by set; immutable.

    code_SCB: on which side of each hyperplane the cluster's first key lies, bool. key_SCD: mean key, float32.
    n_rows_SC: keys in each; 0 pads sets that have fewer clusters than others. member_SN: each archived row's cluster.
    """

    code_SCB: torch.Tensor
    key_SCD: torch.Tensor
    n_rows_SC: torch.Tensor
    member_SN: torch.Tensor

    @staticmethod
    def empty(n_sets: int, n_planes: int, head_dim: int, device: torch.device) -> KeyClusters:
        return KeyClusters(
            torch.zeros(n_sets, 0, n_planes, dtype=torch.bool, device=device),
            torch.zeros(n_sets, 0, head_dim, device=device),
            torch.zeros(n_sets, 0, dtype=torch.int64, device=device),
            torch.zeros(n_sets, 0, dtype=torch.int64, device=device),
        )

    def add(self, code_STB: torch.Tensor, key_STD: torch.Tensor, radius: int) -> KeyClusters:
        """Rows in time order, one after the other: each joins the nearest cluster below the radius, or opens one.

        code_STB: bool. key_STD: what the means are of. Of equally near clusters the oldest is joined.
        """
        clusters = self
        for start in range(0, code_STB.shape[1], _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            clusters = clusters._add_block(code_STB[:, rows], key_STD[:, rows].float(), radius)
        return clusters

    def of_sets(self, sets: slice) -> KeyClusters:
        """Those of some sets only, sharing storage."""
        return KeyClusters(self.code_SCB[sets], self.key_SCD[sets], self.n_rows_SC[sets], self.member_SN[sets])

    def _add_block(self, code_STB: torch.Tensor, key_STD: torch.Tensor, radius: int) -> KeyClusters:
        member_ST, is_founder_ST = self._assign(code_STB, radius)
        n_sets, _, n_planes = code_STB.shape
        n_clusters = int((self._n_clusters_S + is_founder_ST.sum(dim=1)).max())
        # Of a set's rows only founders write a code; the others write into a slot that is cut off again.
        slot_ST = member_ST.masked_fill(~is_founder_ST, n_clusters)
        code_SCB = _grown(self.code_SCB, n_clusters + 1)
        code_SCB.scatter_(1, slot_ST[..., None].expand(-1, -1, n_planes), code_STB)
        n_old_SC = _grown(self.n_rows_SC, n_clusters)
        n_rows_SC = n_old_SC.scatter_add(1, member_ST, torch.ones_like(member_ST))
        sum_SCD = _grown(self.key_SCD, n_clusters) * n_old_SC[..., None]
        sum_SCD.scatter_add_(1, member_ST[..., None].expand(n_sets, -1, key_STD.shape[-1]), key_STD)
        key_SCD = sum_SCD / n_rows_SC[..., None].clamp(min=1)
        return KeyClusters(code_SCB[:, :n_clusters], key_SCD, n_rows_SC, torch.cat((self.member_SN, member_ST), dim=1))

    def _assign(self, code_STB: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The cluster of each new row, int64 `[S, T]`, and whether the row opens it."""
        n_sets, n_new, n_planes = code_STB.shape
        nearest_ST, distance_ST = self._nearest(code_STB)
        among_STT = hamming(code_STB, code_STB)
        far = n_planes + 1
        founded_ST = torch.full((n_sets, n_new), -1, dtype=torch.int64, device=code_STB.device)
        member_ST, n_clusters_S = torch.empty_like(founded_ST), self._n_clusters_S
        for row in range(n_new):
            to_founder_ST = among_STT[:, row].masked_fill(founded_ST < 0, far)
            founder_distance_S, founder_S = _first_min(to_founder_ST)
            joins_old_S = (distance_ST[:, row] < radius) & (distance_ST[:, row] <= founder_distance_S)
            joins_new_S = ~joins_old_S & (founder_distance_S < radius)
            founds_S = ~joins_old_S & ~joins_new_S
            joined_S = torch.where(joins_old_S, nearest_ST[:, row], founded_ST.gather(1, founder_S[:, None])[:, 0])
            member_ST[:, row] = torch.where(founds_S, n_clusters_S, joined_S)
            founded_ST[:, row] = torch.where(founds_S, n_clusters_S, -1)
            n_clusters_S = n_clusters_S + founds_S
        return member_ST, founded_ST >= 0

    def _nearest(self, code_STB: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The nearest cluster of each row among those there are, and how far it is."""
        far = code_STB.shape[-1] + 1
        if self.n_rows_SC.shape[1] == 0:
            none_ST = torch.zeros(code_STB.shape[:2], dtype=torch.int64, device=code_STB.device)
            return none_ST, torch.full_like(none_ST, far)
        distance_STC = hamming(code_STB, self.code_SCB).masked_fill(self.n_rows_SC[:, None] == 0, far)
        distance_ST, nearest_ST = _first_min(distance_STC)
        return nearest_ST, distance_ST

    @property
    def _n_clusters_S(self) -> torch.Tensor:
        return (self.n_rows_SC > 0).sum(dim=1)


def hyperplanes(n_planes: int, head_dim: int, seed: int) -> torch.Tensor:
    """Normals of random hyperplanes through the origin, float32 `[D, B]`, the same on every device."""
    return torch.randn(head_dim, n_planes, generator=torch.Generator().manual_seed(seed))


def side_of(key_STD: torch.Tensor, plane_DB: torch.Tensor) -> torch.Tensor:
    """k w > 0 for each key and hyperplane, bool `[S, T, B]`."""
    return key_STD.float() @ plane_DB.to(key_STD.device) > 0


def hamming(code_STB: torch.Tensor, other_SCB: torch.Tensor) -> torch.Tensor:
    """In how many bits codes differ, int64 `[S, T, C]`."""
    # Signs multiply to the agreements less the differences; small whole numbers, so that floats are exact.
    sign_STB, sign_SCB = code_STB.float() * 2 - 1, other_SCB.float() * 2 - 1
    return ((code_STB.shape[-1] - sign_STB @ sign_SCB.transpose(1, 2)) / 2).long()


def clusters_by_mass(score_SRC: torch.Tensor, n_rows_SC: torch.Tensor, share: float) -> torch.Tensor:
    """Clusters that each query row takes, bool `[S, R, C]`: by falling score, until their mass exceeds the threshold.

    score_SRC: at least 0. A cluster's mass is its score times its rows; the threshold is a share of the mass of all.
    With a share of 1 all are taken.
    """
    sorted_SRC, order_SRC = score_SRC.sort(dim=-1, descending=True, stable=True)
    mass_SRC = sorted_SRC * n_rows_SC[:, None].expand_as(order_SRC).gather(-1, order_SRC)
    total_SRC = mass_SRC.cumsum(dim=-1)
    # A cluster is taken as long as what was taken before it does not exceed the threshold.
    before_SRC = torch.cat((torch.zeros_like(total_SRC[..., :1]), total_SRC[..., :-1]), dim=-1)
    is_taken_SRC = before_SRC <= share * total_SRC[..., -1:]
    return torch.zeros_like(is_taken_SRC).scatter_(-1, order_SRC, is_taken_SRC)


def _grown(x_SC: torch.Tensor, n_clusters: int) -> torch.Tensor:
    """A copy with room for so many clusters, the new ones 0."""
    new = x_SC.new_zeros(x_SC.shape[0], n_clusters, *x_SC.shape[2:])
    new[:, : x_SC.shape[1]] = x_SC
    return new


def _first_min(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The least of whole numbers along the last axis and the first place where it stands."""
    n = x.shape[-1]
    least = (x * n + torch.arange(n, device=x.device)).amin(dim=-1)
    return least // n, least % n
