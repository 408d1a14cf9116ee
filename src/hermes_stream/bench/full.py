"""Memories that are full before anything is measured: what happens then happens for hours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.types import Frame


def fill(engine: Engine, session: Session, frames: Iterator[Frame]) -> None:
    """Watch whole intervals until the policy has evicted, or until frames for two budgets came."""
    facts = engine.model
    n_tokens = 2 * (session.policy.budget_tokens or engine.defaults.budget_tokens)
    n_frames = n_tokens // facts.tokens_per_frame * facts.frames_per_grid
    while session.stats.n_compressions == 0 and session.stats.frames_seen < n_frames:
        session.watch(islice(frames, session.chunk_frames))
