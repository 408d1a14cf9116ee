"""One stream behind the API: an engine's session, whoever feeds it, its pictures and what happened in it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.memory.held_map import known_seconds
from hermes_stream.server.bus import Bus, Event
from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import SessionSpec
from hermes_stream.server.state.journal import Entry, Journal
from hermes_stream.server.state.thumbnails import Thumbnails
from hermes_stream.types import Frame
from hermes_stream.video.location import mask_secrets

_log = logging.getLogger(__name__)

State = Literal["live", "gap", "ended"]
FeedKind = Literal["push", "pull"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a session keeps for life. owner: name of the key that opened it. created_seconds: since 1970.

    is_kept: whether a restart brings it back; otherwise it ends with the request or connection that it is for.
    """

    name: str
    spec: SessionSpec
    owner: str
    created_seconds: float
    is_kept: bool = True


class LiveSession:
    """Frames come in on any thread; everything else is called on the server's loop.

    One feed at a time brings frames: a client that pushes them, or the server that pulls them from a source. Between
    two feeds nothing is seen, and the session says so: its state is "gap".
    """

    def __init__(
        self,
        identity: Identity,
        engine: Engine,
        session: Session,
        journal: Journal,
        bus: Bus,
        *,
        thumbnails: Thumbnails | None = None,
        origin_seconds: float | None = None,
    ) -> None:
        """origin_seconds: the moment of the stream's time 0, since 1970; None until the first frame."""
        self.identity, self.engine, self.session = identity, engine, session
        self.journal, self.bus = journal, bus
        self.thumbnails = thumbnails or Thumbnails()
        self.origin_seconds = origin_seconds
        self.state: State = "gap"
        self.feed: FeedKind | None = None
        self.reason = ""
        # Why whoever is connected must go, where the session itself goes on elsewhere.
        self.farewell = ""
        # How it came here from another server of the fleet: what the journal says of it.
        self.arrival: dict[str, object] | None = None
        # Frames that came and were no pictures, or late; whoever brings them counts.
        self.frames_refused = 0
        self.used_at = time.monotonic()
        self._lock = threading.Lock()
        stats = session.stats
        self._newest_seconds = stats.time_seconds if stats.frames_seen else None
        self._newest_frame: Frame | None = None
        self._n_compressions = stats.n_compressions
        self._n_dropped = 0

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def fps(self) -> float:
        """Frames per second that are looked at."""
        return self.identity.spec.fps or self.engine.defaults.fps

    @property
    def newest_seconds(self) -> float | None:
        """Time of the newest frame that came in, or to which a gap reaches; None before the first."""
        return self._newest_seconds

    @property
    def newest_frame(self) -> Frame | None:
        """The newest frame since the server began."""
        return self._newest_frame

    def now_seconds(self) -> float:
        """The stream's time at this moment, by the clock on the wall; never before its newest frame."""
        newest = self._newest_seconds or 0.0
        return newest if self.origin_seconds is None else max(time.time() - self.origin_seconds, newest)

    def begin_feed(self, kind: FeedKind) -> None:
        """Somebody brings frames from now on. Raises ApiError where somebody else does."""
        with self._lock:
            if self.feed is not None:
                by = "another client pushes to it" if self.feed == "push" else "the server pulls it from its source"
                raise ApiError(409, "already_fed", f"session {self.name} has a feed: {by}; open a session of your own")
            self.feed = kind
        self._enter("live", "")

    def end_feed(self, state: State, reason: str) -> None:
        """Nobody brings frames any more. state: "ended" where no more can come. reason: one line."""
        with self._lock:
            self.feed = None
        self._enter(state, reason)

    def pause(self, reason: str) -> None:
        """The feed is there, but nothing comes."""
        self._enter("gap", reason)

    def resume(self, start_seconds: float, reason: str) -> None:
        """The feed goes on at a time of the stream: from its newest frame to then, nothing was seen."""
        before, self._newest_seconds = self._newest_seconds, start_seconds
        self._enter("live", "")
        if before is None or start_seconds <= before:
            return
        self.session.mark_gap(before, start_seconds, reason)
        self.log("gap", before, {"start_s": before, "end_s": start_seconds, "reason": reason})

    def take(self, frames: Sequence[Frame]) -> int:
        """Frames of a live feed: what the engine cannot keep up with is dropped and counted. Returns how many it took.

        Raises UsageError, with none taken, if times fall.
        """
        n_taken = self.session.offer(frames)
        self._note(frames)
        return n_taken

    def drop(self, n_frames: int) -> None:
        """So many frames of a live feed came and were given up before the engine was asked."""
        self._n_dropped += n_frames

    @property
    def frames_dropped(self) -> int:
        """Frames that came and never got into the memory."""
        return self.session.stats.frames_dropped + self._n_dropped

    def watch(self, frames: Sequence[Frame]) -> None:
        """Frames of a feed that can wait; returns once they are in."""
        self._note(frames)
        self.session.watch(frames)

    def forget(self, start_seconds: float, end_seconds: float) -> int:
        """Delete the pictures of a time range; returns how many these were."""
        newest = self._newest_frame
        if newest is not None and start_seconds <= newest.pts_seconds < end_seconds:
            self._newest_frame = None
        return self.thumbnails.forget(start_seconds, end_seconds)

    def touch(self) -> None:
        """Somebody uses the session."""
        self.used_at = time.monotonic()

    def log(self, kind: str, time_seconds: float | None, data: dict[str, Any]) -> Entry:
        """Write down what happened, and tell who listens."""
        entry = self.journal.add(self.name, kind, time_seconds, data)
        self.bus.publish(kind, entry.to_json(), entry.number)
        return entry

    def to_json(self) -> dict[str, Any]:
        """The session as the API gives it."""
        stats, spec, policy = self.session.stats, self.identity.spec, self.session.policy
        return {
            "id": self.name,
            "name": spec.name,
            "state": self.state,
            "reason": self.reason,
            "arrived": self.arrival,
            "feed": self.feed,
            "source": None if spec.source is None else mask_secrets(spec.source),
            "model": self.engine.model.name,
            "memory": policy.title,
            "budget": policy.budget_tokens,
            "fps": self.fps,
            "chunk": self.session.chunk_frames,
            "created_s": round(self.identity.created_seconds, 3),
            "origin_s": None if self.origin_seconds is None else round(self.origin_seconds, 3),
            "time_s": round(stats.time_seconds, 3),
            "frames_seen": stats.frames_seen,
            "frames_dropped": self.frames_dropped,
            "waiting_frames": stats.waiting_frames,
            "lag_s": round(stats.lag_seconds, 3),
            "tokens_seen": stats.tokens_seen,
            "held_tokens": list(stats.held_tokens),
            "memory_bytes": stats.memory_bytes,
            "archive_bytes": stats.archive_bytes + stats.disk_bytes,
            "n_compressions": stats.n_compressions,
            "gaps": [
                {"start_s": gap.start_seconds, "end_s": gap.end_seconds, "reason": gap.reason} for gap in stats.gaps
            ],
        }

    def say_goodbye(self, reason: str) -> None:
        """The session goes on elsewhere: whoever listens is told to come back, and is let go."""
        self.farewell = reason
        self.bus.close(Event("moved", {"reason": reason, "is_resumable": True}))

    def close(self) -> None:
        """Give the memory back and end whoever listens."""
        self.session.close()
        self.bus.close()

    def _enter(self, state: State, reason: str) -> None:
        changed = (state, reason) != (self.state, self.reason)
        self.state, self.reason = state, reason
        if changed:
            self.bus.publish("state", {"state": state, "reason": reason})

    def _note(self, frames: Iterable[Frame]) -> None:
        """Pictures and clock of frames that come in."""
        self.touch()
        for frame in frames:
            if self.origin_seconds is None:
                self.origin_seconds = time.time() - frame.pts_seconds
            self.thumbnails.add(frame)
            self._newest_frame, self._newest_seconds = frame, frame.pts_seconds
        stats = self.session.stats
        if stats.n_compressions != self._n_compressions:
            self._n_compressions = stats.n_compressions
            self.thumbnails.keep(known_seconds(self.session.memory))
            self.bus.publish("compressed", {"time_s": stats.last_compression_seconds, "n": stats.n_compressions})
