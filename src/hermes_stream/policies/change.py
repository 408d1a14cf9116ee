"""What changed between neighbouring frames, and what hangs together within one.

Source: FluxMem, from its formulas and the constants of its released code.

Shape letters: N tokens of one frame, E model width.
"""

from __future__ import annotations

import torch

from hermes_stream.memory.plan import Fold
from hermes_stream.policies.otsu import Edge, otsu_threshold
from hermes_stream.policies.similarity import cosines

_SAME = 0.8  # released code: a token that resembles the next frame more than this goes, whatever Otsu says


def is_changed(
    to_next_N: torch.Tensor,
    to_previous_N: torch.Tensor | None,
    *,
    at: Edge = "upper",
    same: float | torch.Tensor = _SAME,
) -> torch.Tensor:
    """Which tokens stay when their frame leaves the short tier, from their distances to its neighbours; bool `[N]`.

    same: the cosine with the next frame above which a token goes whatever the threshold, one for all or `[N]`.
    """
    changed_N = to_next_N >= otsu_threshold(to_next_N, at=at)
    if to_previous_N is not None:
        changed_N |= to_previous_N >= otsu_threshold(to_previous_N, at=at)
    return changed_N & (1 - to_next_N <= same)


def connected_patches(token_NE: torch.Tensor, cell_N2: torch.Tensor, *, at: Edge = "upper") -> list[torch.Tensor]:
    """Tokens that hang together: sorted indices of each patch, of one token or more.

    Cells that touch, also at a corner, are linked where their distance is at most Otsu's threshold of all such pairs.
    """
    touches_NN = ((cell_N2[:, None] - cell_N2[None]).abs().amax(dim=-1) <= 1).triu(diagonal=1)
    distance_NN = (1 - cosines(token_NE, token_NE)).clamp(min=0)
    root = list(range(len(token_NE)))
    if bool(touches_NN.any()):
        linked_NN = touches_NN & (distance_NN <= otsu_threshold(distance_NN[touches_NN], at=at))
        # Pairs come in the order of their first token; the smaller root wins.
        for one, other in linked_NN.nonzero().tolist():
            low, high = sorted((_root_of(root, one), _root_of(root, other)))
            root[high] = low
    label_N = torch.tensor([_root_of(root, index) for index in range(len(root))], device=token_NE.device)
    return [(label_N == label).nonzero()[:, 0] for label in label_N.unique()]


def patch_folds(
    embeddings_NE: torch.Tensor, rows_N: torch.Tensor, cell_N2: torch.Tensor, *, at: Edge = "upper"
) -> list[Fold]:
    """A fold for each connected patch of more than one of these rows: its mean, at the member nearest to it."""
    patches = connected_patches(embeddings_NE[rows_N], cell_N2, at=at)
    return [_fold(embeddings_NE, rows_N[patch_N]) for patch_N in patches if patch_N.numel() > 1]


def _fold(embeddings_NE: torch.Tensor, rows_N: torch.Tensor) -> Fold:
    """A patch as its mean, at the member nearest to it; of two as near the first."""
    token_NE = embeddings_NE[rows_N].double()
    distance_N = (token_NE - token_NE.mean(dim=0)).norm(dim=1)
    # Two are always as near as each other; rounding shall not choose between them.
    is_nearest_N = distance_N <= distance_N.amin() * (1 + 1e-6)
    return Fold(rows_N, anchor=int(rows_N[is_nearest_N][0]))


def _root_of(root: list[int], index: int) -> int:
    while root[index] != index:
        root[index] = root[root[index]]
        index = root[index]
    return index
