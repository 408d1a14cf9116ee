"""One token of an answer on its way through the text model.

Shape letters: E model width, R position axes.
"""

from __future__ import annotations

from functools import cached_property

import torch

from hermes_stream.engine.batch import TailSegment
from hermes_stream.engine.tail import Tail
from hermes_stream.models.adapter import Adapter


class TokenSegment(TailSegment):
    """A tail segment of one token, known by its id and its position.

    Its tensors are made when a forward asks for them: making them waits for the device, and a forward with static
    shapes takes the two numbers instead.
    """

    def __init__(self, adapter: Adapter, token_id: int, position: int, tail: Tail) -> None:
        self._adapter = adapter
        self.token_id = token_id
        self.position = position
        self.tail = tail
        self.attention = {}

    @property
    def n_rows(self) -> int:
        return 1

    @cached_property
    def embeddings_TE(self) -> torch.Tensor:  # type: ignore[override]
        """`[1, E]`."""
        return self._adapter.token(self.token_id)

    @cached_property
    def position_RT(self) -> torch.Tensor:  # type: ignore[override]
        """`[R, 1]`, the same on all axes."""
        facts = self._adapter.facts
        return torch.full((facts.n_axes, 1), self.position, dtype=torch.int64, device=facts.device)
