"""Feeds sessions from their sources: one thread each, from the moment a session opens until it closes."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from contextlib import closing
from typing import Any

from hermes_stream.errors import HermesError, LimitError, SessionClosed, SourceError
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.pull.backoff import Backoff
from hermes_stream.server.pull.opening import Opening
from hermes_stream.server.pull.sources import Sources
from hermes_stream.server.settings import SessionSpec
from hermes_stream.types import Frame
from hermes_stream.video import Video
from hermes_stream.video.pace import Pace

_log = logging.getLogger(__name__)
_JOIN_SECONDS = 5.0
# As long as this a source must bring frames before the next failure counts as a first one.
_GOOD_SECONDS = 10.0
_RECORD = "pull"


class Puller:
    """Starts a thread for every session that has a source, and ends it; used on the server's loop."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._pulls: dict[str, Pull] = {}

    async def check(self, spec: SessionSpec) -> None:
        """Raise SourceError for a source that could never be watched."""
        if spec.source is not None:
            await asyncio.to_thread(self._sources.check, spec.source, speed=spec.speed)

    def start(self, live: LiveSession) -> None:
        """Feed a session that begins, or is back."""
        if live.identity.spec.source is not None:
            pull = self._pulls[live.name] = Pull(live, self._sources)
            pull.start()

    async def stop(self, live: LiveSession) -> None:
        """No more frames for a session: returns once its thread has ended, or after some seconds."""
        pull = self._pulls.pop(live.name, None)
        if pull is not None:
            await asyncio.to_thread(pull.stop)

    def let_go(self) -> None:
        """All threads begin to end at once; `stop` then waits for each."""
        for pull in self._pulls.values():
            pull.let_go()


class Pull:
    """One session's thread.

    A live source never waits for the engine, which drops what it cannot take. One that breaks off is opened again,
    less and less often; what it showed meanwhile is a gap in the session's time. A source with an end goes at its own
    pace and waits; broken off, or after a restart, it goes on behind the newest frame, and nothing is missing.
    """

    def __init__(self, live: LiveSession, sources: Sources) -> None:
        self._live, self._sources = live, sources
        self._spec = live.identity.spec
        self._backoff = Backoff()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._opening: Opening | None = None
        # Of the gap in which the session is: what began it. None while frames come.
        self._gap_reason: str | None = "the server was not watching"
        self._is_live = False
        self._good_since = self._until = 0.0
        self._thread = threading.Thread(target=self._run, name=f"hermes-pull-{live.name}", daemon=True)

    def start(self) -> None:
        """Begin. Raises ApiError where somebody else feeds the session."""
        self._live.begin_feed("pull")
        self._live.pause("the source is being opened")
        self._thread.start()

    def let_go(self) -> None:
        """Begin to end: whatever the thread waits for is over."""
        if not self._stopped.is_set():
            self._until = time.monotonic() + _JOIN_SECONDS
        self._stopped.set()
        with self._lock:
            opening = self._opening
        if opening is not None:
            opening.give_up()

    def stop(self) -> None:
        """End; waits for the thread, but no longer than some seconds since it was told to."""
        self.let_go()
        self._thread.join(max(self._until - time.monotonic(), 0.0))
        if self._thread.is_alive():
            _log.warning("a source does not let go, and is left behind", extra={"session": self._live.name})

    def _run(self) -> None:
        reason: str | None = "an error on the server, whose log says more"
        try:
            reason = self._feed()
        except SessionClosed:
            reason = None
        except HermesError as error:
            reason = _one_line(error)
        except Exception:
            _log.exception("a source is not watched any more", extra={"session": self._live.name})
        if reason is None:
            self._live.end_feed("gap", "the server has stopped watching")
        else:
            self._live.end_feed("ended", reason)

    def _feed(self) -> str | None:
        """Watch until there is nothing more to come; returns the reason, None where it was told to stop."""
        record = self._record()
        self._is_live = record.get("is_live", False)
        if "end_s" in record and (self._live.newest_seconds or 0.0) >= record["end_s"]:
            reason: str = record["reason"]
            return reason
        while not self._stopped.is_set():
            assert self._spec.source is not None
            opening = self._sources.prepare(self._spec.source, speed=self._spec.speed)
            try:
                with closing(opening):
                    return self._watch(opening)
            except SourceError as error:
                if not opening.is_remote:
                    raise
                self._wait(_one_line(error))
            except LimitError as error:
                if not self._is_live:
                    raise
                self._wait(_one_line(error))
        return None

    def _watch(self, opening: Opening) -> str | None:
        """Watch once, to the end; returns what `_feed` does. Raises SourceError where the source broke off."""
        self._hold(opening)
        now, newest = self._live.now_seconds(), self._live.newest_seconds
        after = -math.inf if newest is None else newest
        video = opening.open(fps=self._live.fps, start_seconds=now, after_seconds=after)
        self._good_since = time.monotonic()
        if self._stopped.is_set():
            return None
        if self._is_live and not video.info.is_live:
            return self._ended("the stream is over")
        self._is_live = video.info.is_live
        if self._is_live:
            self._note(is_live=True)
            self._follow(video, now if opening.is_synchronous else None)
        else:
            self._play(video)
        if self._stopped.is_set():
            return None
        damage = video.damage
        if self._is_live or damage.broke_off:
            raise SourceError(damage.end_reason or "the source has stopped sending")
        return self._ended(damage.end_reason or "the source is at its end")

    def _follow(self, video: Video, offset_seconds: float | None) -> None:
        """Frames of a live source. offset_seconds: of its times in the session's; None: it is now."""
        for frame in video:
            if self._stopped.is_set():
                return
            if offset_seconds is None:
                offset_seconds = self._live.now_seconds() - frame.pts_seconds
            time_seconds = offset_seconds + frame.pts_seconds
            self._see(time_seconds)
            self._live.take([Frame(time_seconds, frame.image_YXC)])

    def _play(self, video: Video) -> None:
        """Frames of a source with an end, each at its moment; those that are late go in together."""
        pace, batch = Pace(is_live=False, speed=self._spec.speed), []
        for frame in video:
            newest = self._live.newest_seconds
            self._see(frame.pts_seconds if newest is None else newest)
            pace.arrive(frame.pts_seconds)
            self._stopped.wait(pace.wait_seconds(frame.pts_seconds))
            if self._stopped.is_set():
                return
            batch.append(frame)
            is_last_due = pace.wait_seconds(frame.pts_seconds + 1 / self._live.fps) > 0
            if is_last_due or len(batch) == self._live.session.chunk_frames:
                self._live.watch(batch)
                batch = []
        if batch:
            self._live.watch(batch)

    def _see(self, time_seconds: float) -> None:
        """A frame is there. The first one behind a gap ends it, at this time of the session."""
        if self._gap_reason is not None:
            self._live.resume(time_seconds, self._gap_reason)
            self._gap_reason = None
        if time.monotonic() - self._good_since > _GOOD_SECONDS:
            self._backoff.reset()

    def _wait(self, reason: str) -> None:
        """Before the next try."""
        if self._stopped.is_set():
            return
        seconds = self._backoff.next_seconds()
        self._gap_reason = self._gap_reason or reason
        self._live.pause(f"{reason}; the next try is in {seconds:.0f} s")
        self._stopped.wait(seconds)

    def _hold(self, opening: Opening) -> None:
        """From now on `let_go` knows what the thread waits for."""
        with self._lock:
            self._opening = opening
        if self._stopped.is_set():
            opening.give_up()

    def _ended(self, reason: str) -> str:
        """A restart must not begin it anew."""
        self._note(is_live=self._is_live, end_s=self._live.newest_seconds or 0.0, reason=reason)
        return reason

    def _record(self) -> dict[str, Any]:
        return self._live.journal.records(_RECORD, self._live.name).get(self._live.name, {})

    def _note(self, **record: Any) -> None:
        self._live.journal.put(_RECORD, self._live.name, self._live.name, record)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
