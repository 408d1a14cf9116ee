"""A forward of the text model with static shapes.

Shape letters: T rows, L layers, E model width, A answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.engine.batch import TailSegment
from hermes_stream.engine.graphs.bucket import Bucket
from hermes_stream.engine.graphs.inputs import StaticInputs
from hermes_stream.engine.graphs.place import Numbers, Place
from hermes_stream.engine.graphs.static_batch import StaticBatch
from hermes_stream.engine.token_segment import TokenSegment
from hermes_stream.memory.arena import Arena
from hermes_stream.models.adapter import Adapter


class StaticForward:
    """Buffers of one bucket and the work on them.

    logits_AV, largest_A: of each answer's last row, and which is the largest; until any forward runs again.
    """

    logits_AV: torch.Tensor
    largest_A: torch.Tensor

    def __init__(self, adapter: Adapter, arena: Arena, bucket: Bucket, scratch_start_L: Numbers) -> None:
        """scratch_start_L: in each layer, rows of the arena that are nobody's, as many as the bucket has."""
        facts = adapter.facts
        self._bucket = bucket
        self._adapter, self._arena, self._scratch_start_L = adapter, arena, scratch_start_L
        self._inputs = StaticInputs(bucket, facts)
        self._embeddings_TE = torch.zeros(bucket.n_rows, facts.hidden_size, dtype=facts.dtype, device=facts.device)
        self._inputs.fill(self._padding(0))

    def run(self) -> None:
        """Compute, on the device alone, what the buffers ask for."""
        adapter, inputs, is_decode = self._adapter, self._inputs, self._bucket.is_decode
        embeddings_TE = adapter.tokens(inputs.token_T) if is_decode else self._embeddings_TE
        batch = StaticBatch(embeddings_TE, inputs, self._arena, adapter.rope, is_decode=is_decode)
        hidden_TE = adapter.run(batch)
        self.logits_AV = adapter.logits(hidden_TE.index_select(0, inputs.last_A))
        self.largest_A = self.logits_AV.argmax(dim=-1)

    def load(self, segments: Sequence[TailSegment], places: Sequence[Place]) -> None:
        """Let the next run be about these: one question, or tokens of answers, which are numbers only."""
        n_rows = sum(place.n_new for place in places)
        tokens = (
            [segment for segment in segments if isinstance(segment, TokenSegment)] if self._bucket.is_decode else []
        )
        self._inputs.fill(
            [*places, *self._padding(n_rows)],
            tokens=[segment.token_id for segment in tokens],
            positions=[segment.position for segment in tokens],
        )
        if not self._bucket.is_decode:
            # Rows of padding keep what an earlier question left in them, which is as good as anything.
            self._embeddings_TE[:n_rows].copy_(segments[0].embeddings_TE)
            self._inputs.position_RT[:, :n_rows].copy_(segments[0].position_RT)

    def _padding(self, n_used: int) -> list[Place]:
        """Segments for the rows from `n_used` on."""
        n_rest = self._bucket.n_rows - n_used
        if self._bucket.is_decode:
            return [Place.of_padding(self._scratch_start_L, index, 1) for index in range(n_rest)]
        # Before the first question all rows are padding, and it is the question that has none.
        sizes = [n_rest] if n_used else [n_rest, 0]
        return [Place.of_padding(self._scratch_start_L, 0, n_new) for n_new in sizes]
