"""An online basis of what a stream has shown: what it explains is known, what it leaves over is new.

Shape letters: N tokens, E model width, C columns of the basis, J tokens to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_KEPT_USAGE = 0.9  # CausalMem's released code: S <- 0.9 S + 0.1 mean |C|
# A direction shorter than this share of its token is rounding, or already in the basis.
_LEAST_SHARE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """column_EC: float32, orthonormal, or zero where a column is not in use yet. usage_C: float32, 0 there."""

    column_EC: torch.Tensor
    usage_C: torch.Tensor


def first_subspace(token_NE: torch.Tensor, n_columns: int) -> Subspace:
    """The leading right singular vectors of the first frame's tokens, each with usage 1.

    As many as there are directions, at most `n_columns`. Signs are fixed: the largest component is positive.
    """
    _, strength_C, right_CE = torch.linalg.svd(token_NE.float(), full_matrices=False)
    right_CE, strength_C = right_CE[:n_columns], strength_C[:n_columns]
    largest_C1 = right_CE.gather(1, right_CE.abs().argmax(dim=1, keepdim=True))
    is_used_C = strength_C > _LEAST_SHARE * strength_C[:1]
    column_EC = (right_CE * torch.where(largest_C1 < 0, -1.0, 1.0) * is_used_C[:, None]).T
    n_free = n_columns - column_EC.shape[1]
    return Subspace(
        torch.cat((column_EC, column_EC.new_zeros(len(column_EC), n_free)), dim=1),
        torch.cat((is_used_C.float(), column_EC.new_zeros(n_free))),
    )


def residual(subspace: Subspace, token_NE: torch.Tensor) -> torch.Tensor:
    """R = X - (X U) U': what the basis leaves over of each token; float32 `[N, E]`."""
    token_NE = token_NE.float()
    return token_NE - (token_NE @ subspace.column_EC) @ subspace.column_EC.T


def learn(subspace: Subspace, token_NE: torch.Tensor, n_new: int) -> Subspace:
    """Note how much the tokens use each column, then learn the directions of the `n_new` least explained ones.

    They are orthonormalised, largest first, and enter with usage 1; the most used columns stay, of equal ones the
    older. Source: CausalMem's released code.
    """
    n_columns = subspace.usage_C.shape[0]
    usage_C = _KEPT_USAGE * subspace.usage_C + (1 - _KEPT_USAGE) * _mean_use(subspace, token_NE)
    residual_NE = residual(subspace, token_NE)
    best_J = residual_NE.norm(dim=1).argsort(descending=True, stable=True)[:n_new]
    new_EJ = _orthonormal(subspace.column_EC, residual_NE[best_J].T, token_NE[best_J].float().norm(dim=1))
    column_EC = torch.cat((subspace.column_EC, new_EJ), dim=1)
    usage_C = torch.cat((usage_C, new_EJ.any(dim=0).float()))
    stays_C = usage_C.argsort(descending=True, stable=True)[:n_columns].sort().values
    return Subspace(column_EC[:, stays_C], usage_C[stays_C])


def _mean_use(subspace: Subspace, token_NE: torch.Tensor) -> torch.Tensor:
    return (token_NE.float() @ subspace.column_EC).abs().mean(dim=0)


def _orthonormal(known_EC: torch.Tensor, new_EJ: torch.Tensor, length_J: torch.Tensor) -> torch.Tensor:
    """The new directions made orthonormal to the known ones and to each other, in order; zero where nothing is left.

    Gram-Schmidt, twice over: the Q of a QR factorisation whose R has a positive diagonal, but without the arbitrary
    column that QR makes of a direction it has already.
    """
    for index in range(new_EJ.shape[1]):
        direction_E = new_EJ[:, index]
        for _ in range(2):
            direction_E = direction_E - known_EC @ (known_EC.T @ direction_E)
        norm = direction_E.norm()
        unit_E = torch.where(norm > _LEAST_SHARE * length_J[index], direction_E / norm, 0.0)
        known_EC = torch.cat((known_EC, unit_E[:, None]), dim=1)
    return known_EC[:, known_EC.shape[1] - new_EJ.shape[1] :]
