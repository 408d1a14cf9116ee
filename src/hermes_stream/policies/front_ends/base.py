"""What a front-end is: it drops or merges a grid's tokens before the text model reads them.

A new front-end is one file with one class, one line in `policies/front_ends/__init__.py` and a line in
docs/policies.md.

Shape letters: N vision tokens of one grid, M those that are left of them, E model width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from hermes_stream.policies.part import Part
from hermes_stream.types import VisualTokens


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The vision tokens of one grid, in raster order.

    embeddings_NE: what the text model would read. cell_N2: int64, row and column. saliency_N: float32, attention that
    the vision encoder pays to each; None unless the front-end asks for it.
    """

    embeddings_NE: torch.Tensor
    cell_N2: torch.Tensor
    saliency_N: torch.Tensor | None = None

    @property
    def n_tokens(self) -> int:
        return self.cell_N2.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class SeenGrid:
    """What a front-end remembers of the grids before: embeddings and their cells."""

    embeddings_NE: torch.Tensor
    cell_N2: torch.Tensor

    @staticmethod
    def of(grid: Grid) -> SeenGrid:
        """A copy of its own: what a grid was cut from may be large."""
        return SeenGrid(grid.embeddings_NE.clone(), grid.cell_N2)


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """Which tokens of a grid are left.

    keep_N: int64, sorted, at least one. mix_MN: float32, what each of them becomes, as weights of the grid's tokens;
    None leaves them as they are. Cells, positions and times are always those of the kept token.
    """

    keep_N: torch.Tensor
    mix_MN: torch.Tensor | None = None


class FrontEnd(Part, ABC):
    """Base of all front-ends: options are fields, state is an explicit value that is never changed in place.

    A grid at a time, in order, so that it does not matter how a stream is cut into pieces.
    """

    needs_saliency: ClassVar[bool] = False
    # Whether a token may come to stand for several cells.
    merges: ClassVar[bool] = False

    @abstractmethod
    def reduce(self, grid: Grid, state: Any) -> tuple[Reduction, Any]:
        """What is left of a grid, and the next state. state: None before the first grid."""

    def tokens_after(self, n_tokens: int) -> int:
        """The most tokens that are left of a grid of so many."""
        return n_tokens


def reduce_tokens(
    front_ends: Sequence[FrontEnd], tokens: VisualTokens, states: Sequence[Any]
) -> tuple[VisualTokens, tuple[Any, ...]]:
    """Run encoded frames through front-ends, the first one first; returns what is left and their next states.

    Text between grids stays, what follows DeepStack's taps is what is left, and later positions do not move up.
    """
    after = []
    for front_end, state in zip(front_ends, states, strict=True):
        tokens, next_state = _reduce_grids(front_end, tokens, state)
        after.append(next_state)
    return replace(tokens, saliency_N=None), tuple(after)


def _reduce_grids(front_end: FrontEnd, tokens: VisualTokens, state: Any) -> tuple[VisualTokens, Any]:
    is_text_N = torch.zeros_like(tokens.frame_N, dtype=torch.bool) if tokens.is_text_N is None else tokens.is_text_N
    is_left_N = is_text_N.clone()
    visual_N = (~is_text_N).cumsum(0) - 1  # a token's row in the taps
    embeddings_NE, taps = tokens.embeddings_NE, list(tokens.deepstack)
    for index in range(tokens.n_grids):
        rows_N = ((tokens.frame_N == index) & ~is_text_N).nonzero()[:, 0]
        reduction, state = front_end.reduce(_grid(tokens, rows_N), state)
        left_M = rows_N[reduction.keep_N.to(rows_N.device)]
        is_left_N[left_M] = True
        if reduction.mix_MN is not None:
            embeddings_NE = _mixed(embeddings_NE, rows_N, left_M, reduction.mix_MN)
            taps = [_mixed(tap, visual_N[rows_N], visual_N[left_M], reduction.mix_MN) for tap in taps]
    return _select(replace(tokens, embeddings_NE=embeddings_NE, deepstack=tuple(taps)), is_left_N, is_text_N), state


def _grid(tokens: VisualTokens, rows_N: torch.Tensor) -> Grid:
    device = tokens.embeddings_NE.device
    return Grid(
        tokens.embeddings_NE[rows_N.to(device)],
        torch.stack((tokens.row_N[rows_N], tokens.column_N[rows_N]), dim=-1).to(device),
        None if tokens.saliency_N is None else tokens.saliency_N[rows_N.to(tokens.saliency_N.device)],
    )


def _mixed(x_NE: torch.Tensor, rows_N: torch.Tensor, left_M: torch.Tensor, mix_MN: torch.Tensor) -> torch.Tensor:
    """The same rows, of which those that are left are weighted sums of a grid's."""
    mix_MN = mix_MN.to(x_NE.device)
    sums_ME = mix_MN @ x_NE[rows_N.to(x_NE.device)].to(mix_MN.dtype)
    return x_NE.index_copy(0, left_M.to(x_NE.device), sums_ME.to(x_NE.dtype))


def _select(tokens: VisualTokens, is_left_N: torch.Tensor, is_text_N: torch.Tensor) -> VisualTokens:
    if bool(is_left_N.all()):
        return tokens
    rows_N = is_left_N.nonzero()[:, 0]
    tap_rows_N = is_left_N[~is_text_N].nonzero()[:, 0]
    saliency_N = tokens.saliency_N
    return replace(
        tokens,
        embeddings_NE=tokens.embeddings_NE[rows_N.to(tokens.embeddings_NE.device)],
        positions_RN=tokens.positions_RN[:, rows_N],
        frame_N=tokens.frame_N[rows_N],
        row_N=tokens.row_N[rows_N],
        column_N=tokens.column_N[rows_N],
        times_seconds_N=tokens.times_seconds_N[rows_N],
        is_text_N=None if tokens.is_text_N is None else tokens.is_text_N[rows_N],
        deepstack=tuple(tap[tap_rows_N.to(tap.device)] for tap in tokens.deepstack),
        saliency_N=None if saliency_N is None else saliency_N[rows_N.to(saliency_N.device)],
    )
