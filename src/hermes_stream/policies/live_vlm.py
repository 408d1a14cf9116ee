"""LiveVLM: what newer frames look at, spread over the whole stream; a question reads the pages that it resembles.

Source: LiveVLM (second version of the paper), from its formulas. The first version describes another mechanism.

Shape letters: H query heads, K key/value heads, G query heads per key/value head, T question tokens, N rows of one
layer after its prefix, P pages, D head dimension.
"""

from __future__ import annotations

import torch


def bucket_of(place_N: torch.Tensor, n_places: int, n_buckets: int) -> torch.Tensor:
    """ceil(p N / L): the bucket, from 1, of each place in the stream; places count from 1 to L."""
    return (place_N * n_buckets + n_places - 1) // n_places


def rows_over_time(
    score_N: torch.Tensor, bucket_N: torch.Tensor, n_keep: int, n_top: int, capacity: int
) -> torch.Tensor:
    """The `n_top` best rows, then by falling score every row whose bucket has room, up to `n_keep`; sorted by row.

    The best rows fill their buckets too, beyond their capacity where they must. Rows of older intervals may have left
    buckets empty: then the best of the rest fill up. Of equal scores the newer row counts as better.
    """
    n_rows = score_N.numel()
    order_N = n_rows - 1 - score_N.flip(0).argsort(descending=True, stable=True)
    has_room_N = _rank_in_bucket(bucket_N[order_N]) < capacity
    has_room_N[:n_top] = True
    # Where a bucket has room for a row, all rows of it with better scores were taken: their number is its rank.
    taken_first_N = (~has_room_N).to(torch.int8).argsort(stable=True)
    return order_N[taken_first_N[:n_keep]].sort().values


def _rank_in_bucket(bucket_N: torch.Tensor) -> torch.Tensor:
    """How many earlier entries are of the same bucket."""
    sorted_N, order_N = bucket_N.sort(stable=True)
    n_before_N = torch.searchsorted(sorted_N, sorted_N)
    rank_N = torch.empty_like(order_N)
    rank_N[order_N] = torch.arange(order_N.numel(), device=order_N.device) - n_before_N
    return rank_N


def page_scores(query_HTD: torch.Tensor, key_KND: torch.Tensor, page_rows: int) -> torch.Tensor:
    """Attention that a question would pay to each page if pages were tokens: float32 `[P]`, adding up to 1.

    A page is a run of `page_rows` rows, the last one what is left; its key is the mean of theirs. The softmax runs over
    the pages; mean over tokens and heads. Queries and keys are un-rotated.
    """
    n_heads, n_queries, head_dim = query_HTD.shape
    n_kv_heads, n_rows, _ = key_KND.shape
    page_N = torch.arange(n_rows, device=key_KND.device) // page_rows
    n_pages = -(-n_rows // page_rows)
    sum_KPD = key_KND.new_zeros(n_kv_heads, n_pages, head_dim, dtype=torch.float32)
    sum_KPD.index_add_(1, page_N, key_KND.float())
    size_P1 = torch.full((n_pages, 1), float(page_rows), device=key_KND.device)
    size_P1[-1] = n_rows - page_rows * (n_pages - 1)
    query_KRD = query_HTD.float().reshape(n_kv_heads, n_heads // n_kv_heads * n_queries, head_dim)
    score_KRP = query_KRD @ (sum_KPD / size_P1).transpose(1, 2) * head_dim**-0.5
    share_P: torch.Tensor = score_KRP.softmax(dim=-1).mean(dim=(0, 1))
    return share_P
