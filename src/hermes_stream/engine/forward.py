"""One forward of the text model over whatever segments were chosen for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.engine.batch import PackedBatch, Segment
from hermes_stream.models.adapter import Adapter


def run_forward(adapter: Adapter, segments: Sequence[Segment]) -> torch.Tensor:
    """Run packed segments; returns the logits `[L, V]` that their tails want, in segment order. No segments: none."""
    if not segments:
        return torch.empty(0)
    batch = PackedBatch(segments, adapter.rope)
    hidden_TE = adapter.run(batch)
    rows = batch.last_rows
    return adapter.logits(hidden_TE[rows]) if rows else torch.empty(0)
