"""What a question finds in an archive by one vector for each group of rows: an index, similarities, choices.

Source: ReKV, sections on retrieval; from its formulas. Keys and queries are un-rotated, so that distance in time plays
no part.

Shape letters: L layers, K key/value heads, Q query heads per key/value head, H query heads (H = K·Q), T tokens of a
question, N rows, G groups of rows (frames or blocks), D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.hermes_scores import top_rows

Similarity = Literal["cosine", "dot"]


@dataclass(frozen=True, slots=True, eq=False)
class GroupIndex:
    """The groups of an archive, in time order, in a few tuple entries of falling length.

    sizes: rows of each group, int64 `[G]`, the same in all layers. means: un-rotated mean key of each group,
    `[L, G, K, D]`, as `mean_keys` makes them.
    """

    sizes: tuple[torch.Tensor, ...] = ()
    means: tuple[torch.Tensor, ...] = ()

    def extended(self, size_G: torch.Tensor, mean_LGKD: torch.Tensor) -> GroupIndex:
        """The index with newer groups behind its own.

        Entries join whenever the newer one is as long as the older: n groups are copied log n times in all, and a
        question finds log n entries.
        """
        sizes, means = self.sizes, self.means
        while sizes and sizes[-1].numel() <= size_G.numel():
            size_G, mean_LGKD = torch.cat((sizes[-1], size_G)), torch.cat((means[-1], mean_LGKD), dim=1)
            sizes, means = sizes[:-1], means[:-1]
        return GroupIndex((*sizes, size_G), (*means, mean_LGKD))

    def left(self, forgetting: Forgetting, layers: Sequence[int]) -> GroupIndex:
        """The index of what is left in the archives of these layers; groups that lost a part get a new mean."""
        if not self.sizes:
            return self
        before_G, mean_LGKD = torch.cat(self.sizes), torch.cat(self.means, dim=1)
        group_N = torch.arange(before_G.numel(), device=before_G.device).repeat_interleave(before_G)
        size_G = group_N[forgetting.archive_rows_L[layers[0]]].bincount(minlength=before_G.numel())
        stays_G = size_G > 0
        torn_G, size_G, mean_LGKD = (size_G < before_G)[stays_G], size_G[stays_G], mean_LGKD[:, stays_G]
        if bool(torn_G.any()):
            torn_N = rows_of(torn_G.nonzero()[:, 0], size_G)
            keys = [forgetting.archived_keys(layer, False)[:, torn_N] for layer in layers]
            mean_LGKD[:, torn_G] = mean_keys(keys, size_G[torn_G])
        return GroupIndex((size_G,), (mean_LGKD,)) if size_G.numel() else GroupIndex()

    def of_layer(self, layer: int) -> GroupIndex:
        """The index of one layer, as the only one."""
        return GroupIndex(self.sizes, tuple(mean_LGKD[layer][None] for mean_LGKD in self.means))


def mean_keys(keys: Sequence[torch.Tensor], size_G: torch.Tensor) -> torch.Tensor:
    """Mean key of each group, `[L, G, K, D]`, float32 (float64 for float64 keys).

    keys: per layer `[K, N, D]`, whose N rows are the groups one after the other.
    """
    key_LKND = torch.stack(tuple(keys))
    exact = torch.promote_types(key_LKND.dtype, torch.float32)
    parts = key_LKND.split(size_G.tolist(), dim=2)
    if not parts:
        return key_LKND.new_empty((key_LKND.shape[0], 0, key_LKND.shape[1], key_LKND.shape[3]), dtype=exact)
    return torch.stack([part_LKND.mean(dim=2, dtype=exact) for part_LKND in parts], dim=1)


def group_scores(query_HTD: torch.Tensor, mean_GKD: torch.Tensor, similarity: Similarity) -> torch.Tensor:
    """How well each group fits a question, `[G]`, in the means' precision.

    The mean query of the question, its heads concatenated, against the mean key of the group, repeated for the query
    heads that share it. query_HTD: un-rotated.
    """
    query_HD = query_HTD.to(mean_GKD.device, mean_GKD.dtype).mean(dim=1)
    n_groups, n_kv_heads, head_dim = mean_GKD.shape
    query_KQD = query_HD.reshape(n_kv_heads, -1, head_dim)
    # A repeated key meets the sum of its queries, and is longer by the root of their number.
    dot_G = mean_GKD.reshape(n_groups, n_kv_heads * head_dim) @ query_KQD.sum(dim=1).flatten()
    if similarity == "dot":
        return dot_G
    length_G = mean_GKD.flatten(1).norm(dim=-1) * query_KQD.shape[1] ** 0.5 * query_HD.norm()
    return torch.div(dot_G, length_G.clamp(min=torch.finfo(dot_G.dtype).tiny))


def best_groups(score_G: torch.Tensor, n_chosen: int, *, together: int = 1, newest: int = 0) -> torch.Tensor:
    """The groups to recall, sorted: at most `n_chosen`, among them the `newest` ones whatever their score.

    together: groups before the newest ones are ranked in fixed runs of as many, by their mean score, and taken run by
    run as far as whole runs fit; the last run may be shorter. Of equal scores the newer run is taken.
    """
    n_groups, device = score_G.shape[0], score_G.device
    n_old = max(n_groups - newest, 0)
    run_R, _ = top_rows(_run_means(score_G[:n_old], together), (n_chosen - newest) // together)
    old_C = (run_R[:, None] * together + torch.arange(together, device=device)).flatten()
    return torch.cat((old_C[old_C < n_old], torch.arange(n_old, n_groups, device=device)))


def ranked(score_G: torch.Tensor) -> list[int]:
    """All groups, best first; of equal scores the newer first."""
    newest_first_G = torch.argsort(score_G.flip(0), descending=True, stable=True)
    return [score_G.shape[0] - 1 - place for place in newest_first_G.tolist()]


def _run_means(score_G: torch.Tensor, together: int) -> torch.Tensor:
    """Mean of each run of scores; the last one over what it has."""
    n_groups = score_G.shape[0]
    n_runs = -(-n_groups // together)
    sum_R = functional.pad(score_G, (0, n_runs * together - n_groups)).reshape(n_runs, together).sum(dim=-1)
    first_R = torch.arange(n_runs, device=score_G.device) * together
    return sum_R / (n_groups - first_R).clamp(max=together)


def consensus(first: Sequence[int], last: Sequence[int], n_chosen: int) -> list[int]:
    """One choice out of the rankings of two layers, best first: what both name, then the last's, then the first's.

    At most `n_chosen`, sorted; what both name counts in the last layer's order. Source: CacheFlow.
    """
    named = set(first)
    order = dict.fromkeys([*(group for group in last if group in named), *last, *first])
    return sorted(list(order)[:n_chosen])


def rows_of(group_C: torch.Tensor, size_G: torch.Tensor) -> torch.Tensor:
    """The rows of the given groups, where groups of the given sizes lie one after the other; sorted if those are."""
    size_C = size_G[group_C]
    # How far each group's rows lie behind where they come in the result.
    shift_C = (size_G.cumsum(0) - size_G)[group_C] - (size_C.cumsum(0) - size_C)
    shift_N = shift_C.repeat_interleave(size_C)
    return shift_N + torch.arange(shift_N.shape[0], device=shift_N.device)
