"""Memories that are full before anything is measured: what happens then happens for hours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from hermes_stream.bench.encoding import endless
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session


def fill(engine: Engine, session: Session, shown: Sequence[NDArray[np.uint8]]) -> None:
    """Watch these pictures over and over, one a second, until the policy has evicted or frames for two budgets came.

    In whole intervals.
    """
    frames = (frame for start in count() for frame in endless(shown, start, start + 1))
    facts = engine.model
    n_tokens = 2 * (session.policy.budget_tokens or engine.defaults.budget_tokens)
    n_frames = n_tokens // facts.tokens_per_frame * facts.frames_per_grid
    while session.stats.n_compressions == 0 and session.stats.frames_seen < n_frames:
        session.watch(islice(frames, session.chunk_frames))
