"""Watches a source again without a time range, so that nothing in the memory was computed while it was seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from hermes_stream.engine.session import Session
from hermes_stream.errors import SourceError
from hermes_stream.server.hub import open_session
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError
from hermes_stream.server.pull.sources import Sources
from hermes_stream.types import Frame
from hermes_stream.video import Video

_REASON = "deleted"


def watch_again(live: LiveSession, sources: Sources, start_seconds: float, end_seconds: float) -> Session:
    """A session that has seen what the other has, but for `[start_seconds, end_seconds)`, which is a gap. On a thread.

    Raises ApiError for a session whose frames cannot be had again, SourceError where its source cannot be read now.
    """
    spec, newest = live.identity.spec, live.session.stats.time_seconds
    if spec.source is None:
        raise ApiError(
            400, "invalid_request", "rebuild needs a source to watch again; this session's frames were pushed"
        )
    session = open_session(live.engine, spec)
    try:
        with closing(sources.prepare(spec.source, speed=0)) as opening:
            video = opening.open(fps=live.fps)
            if video.info.is_live:
                raise ApiError(400, "invalid_request", "rebuild needs a source with an end; a live one is seen once")
            _watch(session, _until(video, newest), start_seconds, end_seconds)
            if video.damage.broke_off:
                raise SourceError(
                    f"the source broke off ({video.damage.end_reason}), and nothing was rebuilt; try again"
                )
    except BaseException:
        session.close()
        raise
    return session


def _watch(session: Session, frames: Iterator[Frame], start_seconds: float, end_seconds: float) -> None:
    before: list[Frame] = []
    is_behind = False
    for frame in frames:
        if start_seconds <= frame.pts_seconds < end_seconds:
            continue
        if frame.pts_seconds >= end_seconds and not is_behind:
            session.watch(before)
            before, is_behind = [], True
            session.mark_gap(start_seconds, end_seconds, _REASON)
        before.append(frame)
        if len(before) == session.chunk_frames:
            session.watch(before)
            before = []
    session.watch(before)


def _until(video: Video, newest_seconds: float) -> Iterator[Frame]:
    for frame in video:
        if frame.pts_seconds > newest_seconds:
            return
        yield frame
