"""One forward of the text model over whatever segments were chosen for it.

Shape letters: L rows of logits, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.engine.batch import PackedBatch, Segment
from hermes_stream.engine.graphs.static_forwards import Outcome, StaticForwards
from hermes_stream.memory.upload import upload
from hermes_stream.models.adapter import Adapter
from hermes_stream.stages import TEXT, stage


def run_forward(adapter: Adapter, segments: Sequence[Segment], static: StaticForwards | None = None) -> Outcome:
    """Run packed segments; the logits that their tails want, in segment order. No tails: none.

    static: what may run them as a recording.
    """
    if not segments:
        return Outcome.of(torch.empty(0, 0))
    with stage(TEXT):
        outcome = None if static is None else static.run(segments)
        return outcome or _run_packed(adapter, segments)


def _run_packed(adapter: Adapter, segments: Sequence[Segment]) -> Outcome:
    batch = PackedBatch(segments, adapter.rope)
    hidden_TE = adapter.run(batch)
    rows = batch.last_rows
    if not rows:
        return Outcome.of(torch.empty(0, 0))
    return Outcome.of(adapter.logits(hidden_TE[upload(torch.tensor(rows), hidden_TE.device)]))
