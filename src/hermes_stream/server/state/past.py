"""A session as it was at an earlier time: cut back from what it is now, or from a checkpoint that is nearer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hermes_stream.engine.session import Session
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError
from hermes_stream.server.state.checkpoints import Checkpoints, Saved
from hermes_stream.types import AsOf


@dataclass(frozen=True, slots=True)
class Past:
    """A session that knows nothing of later frames.

    time_seconds: that was asked for. saved: the checkpoint that it was made from; None for the memory of now.
    """

    session: Session
    time_seconds: float
    saved: Saved | None

    def to_json(self) -> dict[str, Any]:
        """What an answer about that time rests on."""
        report = known_of(self.session)
        return {
            "time_s": self.time_seconds,
            "seen_until_s": report.newest_seconds,
            "is_exact": report.is_exact,
            "missing_tokens": report.n_missing_tokens,
            "from": "memory" if self.saved is None else "snapshot",
            "snapshot_time_s": None if self.saved is None else self.saved.time_seconds,
        }

    def close(self) -> None:
        self.session.close()


def known_of(session: Session) -> AsOf:
    """How well a session that was cut back knows its time."""
    report = session.stats.as_of
    assert report is not None
    return report


async def session_at(live: LiveSession, time_seconds: float, folder: Checkpoints | None) -> Past:
    """The session as of a time. Raises ApiError for a time that has not come, HermesError where it cannot be made."""
    newest = live.session.stats.time_seconds
    if time_seconds > newest:
        raise ApiError(
            400,
            "invalid_request",
            f"as_of_s is {time_seconds:g}, but the session has seen {newest:g} s; ask about a time up to then",
        )
    return await asyncio.to_thread(_past, live, time_seconds, newest, folder)


def _past(live: LiveSession, time_seconds: float, newest: float, folder: Checkpoints | None) -> Past:
    """On a thread."""
    now = live.session.as_of(time_seconds)
    if known_of(now).is_exact or folder is None:
        return Past(now, time_seconds, None)
    nearest = min(folder.saved(live.name), key=lambda saved: abs(saved.time_seconds - time_seconds), default=None)
    if nearest is None or abs(nearest.time_seconds - time_seconds) >= newest - time_seconds:
        return Past(now, time_seconds, None)
    now.close()
    whole = live.engine.restore(folder.load(nearest).snapshot)
    try:
        return Past(whole.as_of(min(time_seconds, nearest.time_seconds)), time_seconds, nearest)
    finally:
        whole.close()
