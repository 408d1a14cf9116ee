"""What a policy that recalls is told of a question, layer by layer.

Shape letters: H query heads, T tokens of the question, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hermes_stream.memory.archive import LayerArchive
from hermes_stream.memory.view import LayerView


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One layer, as a question passes it.

    query_HTD: un-rotated queries of the question's text, without its template; of new frames, where these recall.
    rotated_query_HTD: the same at the positions at which they ask.
    archive: rows that were copied out, with their table. held: rows of the memory. sees_held: whether these are seen if
    the choice does not say, as in `ViewSpec`.
    """

    query_HTD: torch.Tensor
    rotated_query_HTD: torch.Tensor
    archive: LayerArchive
    held: LayerView
    sees_held: bool = True
