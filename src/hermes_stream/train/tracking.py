"""Dense supervision of what frames remember: the recent past, read off each frame by a head that is thrown away.

Questions alone teach slowly that a frame should note what came before it. The last token of a frame also predicts the
last three kinds, the first one, and how many there were; an answer then needs one look at the newest frame.
Shape letters: B batch, S rows of a stream, G grids, K tracked facts, E model width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hermes_stream.shapestream.script import COLORS, ENTER_SECONDS, SHAPES, Kind
from hermes_stream.shapestream.viewpoint import Viewpoint

UNKNOWN = -1
_N_RECENT = 3
_LARGEST_COUNT = 15
_SIZES = (*(len(COLORS), len(SHAPES)) * (_N_RECENT + 1), _LARGEST_COUNT + 1)
N_TRACKED = len(_SIZES)


def tracked_labels(view: Viewpoint, *, is_window_known: bool) -> list[int]:
    """Classes of one frame, -1 where there is none or where something is just entering.

    is_window_known: whether the model can know which frames the last minute has.
    """
    begun = view.begun
    if begun and view.time_seconds - begun[-1].start_seconds < ENTER_SECONDS + 0.1:
        return [UNKNOWN] * N_TRACKED
    kinds: list[Kind | None] = [begun[-1 - back].kind if len(begun) > back else None for back in range(_N_RECENT)]
    kinds.append(begun[0].kind if begun else None)
    labels = [label for kind in kinds for label in _kind_labels(kind)]
    window = view.in_window if is_window_known else None
    count = UNKNOWN if window is None else min(len({p.kind for p in window}), _LARGEST_COUNT)
    return [*labels, count]


class Tracker(nn.Module):
    """The head and its loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, sum(_SIZES))

    def loss(self, stream_BSE: torch.Tensor, grid_end_BG: torch.Tensor, labels_BGK: torch.Tensor) -> torch.Tensor:
        """Mean over the tracked facts, read off the last row of each grid."""
        last_BGE = stream_BSE.gather(1, grid_end_BG[..., None].expand(-1, -1, stream_BSE.shape[-1]))
        parts = torch.split(self.head(last_BGE).float().flatten(0, 1), list(_SIZES), dim=-1)
        labels = labels_BGK.flatten(0, 1)
        losses = [
            F.cross_entropy(part, labels[:, index], ignore_index=UNKNOWN, reduction="sum")
            / (labels[:, index] != UNKNOWN).sum().clamp(min=1)
            for index, part in enumerate(parts)
        ]
        return torch.stack(losses).mean()


def _kind_labels(kind: Kind | None) -> tuple[int, int]:
    return (UNKNOWN, UNKNOWN) if kind is None else (COLORS.index(kind.color), SHAPES.index(kind.shape))
