"""What the text model reads for a probe.

Shape letters: T tokens, E model width.
"""

from __future__ import annotations

import torch

from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Probe


def probe_embeddings(adapter: Adapter, probe: Probe) -> torch.Tensor:
    """Embeddings `[T, E]` of a probe's text: raw, or as the family's template puts a question."""
    if probe.kind == "question":
        return adapter.question(probe.text, after_video=True)
    return adapter.guidance(probe.text)
