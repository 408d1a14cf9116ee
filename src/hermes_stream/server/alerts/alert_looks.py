"""Looks at the standing questions of one session, whenever enough frames are in, and what follows from a hit."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hermes_stream.errors import HermesError, SessionClosed
from hermes_stream.server.alerts.alert import Alert
from hermes_stream.server.alerts.webhooks import Delivery, Webhooks
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import problem_of
from hermes_stream.server.state.thumbnails import to_jpeg
from hermes_stream.types import Frame, Scores

_log = logging.getLogger(__name__)

ALERT, PICTURE = "alert", "alert_picture"
N_PICTURES = 32
_PICTURE_WIDTH_PIXELS = 960
# A look is pinned a moment after its frame came in, and perhaps another one has come by then.
_N_FRAMES = 4
_N_DIGITS = 6


class Looks:
    """The standing questions of one session. Everything but `_tell` runs on the server's loop."""

    def __init__(self, live: LiveSession, webhooks: Webhooks) -> None:
        """Those that are on record are taken up."""
        self._live, self._journal, self._webhooks = live, live.journal, webhooks
        self._loop = asyncio.get_running_loop()
        self._frames: deque[Frame] = deque(maxlen=_N_FRAMES)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        chunk, n_frames = live.session.chunk_frames, live.session.stats.frames_seen
        self.alerts = {
            name: Alert.of_record(name, record, every_frames=chunk, n_frames=n_frames)
            for name, record in live.journal.records(ALERT, live.name).items()
        }
        self._listen()

    def add(self, alert: Alert) -> None:
        """Look at one more from now on."""
        self.alerts[alert.name] = alert
        self._write(alert)
        self._listen()

    def remove(self, name: str) -> None:
        """Nothing stays of a standing question but its entries in the journal."""
        alert = self.alerts.pop(name)
        self._end_task(name)
        self._journal.remove(ALERT, name)
        for number in range(max(alert.trigger.n_hits - N_PICTURES, 0) + 1, alert.trigger.n_hits + 1):
            self._journal.remove(PICTURE, f"{name}/{number}")
        self._webhooks.remove(name)
        self._listen()

    def forget(self, start_seconds: float, end_seconds: float) -> None:
        """What looks found in a time range goes, and the pictures of its hits."""
        for name, picture in self._journal.records(PICTURE, self._live.name).items():
            if start_seconds <= picture["time_s"] < end_seconds:
                self._journal.remove(PICTURE, name)
        for alert in self.alerts.values():
            # It may be of the range, and what it finds would be written down.
            if self._end_task(alert.name):
                alert.end_look("")
            kept = [look for look in alert.looks if not start_seconds <= look[0] < end_seconds]
            alert.looks.clear()
            alert.looks.extend(kept)
        self._frames.clear()

    def close(self) -> None:
        """No more looks; where they stand is written down."""
        self._live.session.on_arrival(None)
        for name, alert in self.alerts.items():
            self._end_task(name)
            self._write(alert)
        self.alerts = {}

    def _listen(self) -> None:
        """Be told of frames as long as there is something to look for."""
        if not self.alerts:
            self._frames.clear()
        self._live.session.on_arrival(self._tell if self.alerts else None)

    def _tell(self, frames: Sequence[Frame]) -> None:
        """On the engine's thread."""
        with suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(self._arrive, frames)

    def _arrive(self, frames: Sequence[Frame]) -> None:
        self._frames.extend(frames)
        n_frames = self._live.session.stats.frames_seen if self.alerts else 0
        for alert in self.alerts.values():
            if alert.begin_look(n_frames):
                self._tasks[alert.name] = asyncio.create_task(self._look(alert))

    async def _look(self, alert: Alert) -> None:
        """Ask once, and say so if it is a hit."""
        question = alert.question
        try:
            scores = await self._live.session.score(question.question, question.choices).aresult()
            await self._take(alert, scores)
        except SessionClosed:
            alert.end_look("")
        except Exception as error:  # a policy is foreign code: it may raise anything, and the next look may succeed
            if not isinstance(error, HermesError):
                _log.error("a look at alert %s failed", alert.name, exc_info=error)
            alert.end_look(problem_of(error).message)
        finally:
            self._tasks.pop(alert.name, None)

    async def _take(self, alert: Alert, scores: Scores) -> None:
        time_seconds, probability = scores.time_seconds, scores.probabilities[0]
        before = alert.trigger
        after_gap = before.looked_seconds is not None and any(
            gap.end_seconds > before.looked_seconds for gap in self._live.session.stats.gaps
        )
        after = before.after(alert.question, time_seconds, probability, after_gap=after_gap)
        jpeg = b""
        if after.n_hits > before.n_hits:
            jpeg = await asyncio.to_thread(self._picture, time_seconds)
        alert.trigger = after
        alert.looks.append((round(time_seconds, 3), round(probability, _N_DIGITS)))
        alert.end_look()
        if after.n_hits > before.n_hits:
            self._hit(alert, probability, jpeg)
        elif after.is_armed != before.is_armed:
            self._write(alert)

    def _hit(self, alert: Alert, probability: float, jpeg: bytes) -> None:
        """Written down as a whole, so that a crash neither loses a hit nor tells it twice."""
        live, number, time_seconds = self._live, alert.trigger.n_hits, alert.trigger.fired_seconds
        assert time_seconds is not None
        with self._journal.together():
            self._write(alert)
            if jpeg:
                picture = {"time_s": time_seconds, "jpeg": base64.b64encode(jpeg).decode()}
                self._journal.put(PICTURE, f"{alert.name}/{number}", live.name, picture)
                self._journal.remove(PICTURE, f"{alert.name}/{number - N_PICTURES}")
            entry = live.log("alert", time_seconds, self._told(alert, probability))
            if alert.request.webhook is not None:
                body = json.dumps({"type": "alert", "session": live.name, **entry.to_json()}, ensure_ascii=False)
                self._webhooks.add(Delivery(live.name, alert.name, number, time_seconds, body))

    def _told(self, alert: Alert, probability: float) -> dict[str, Any]:
        """What is said of a hit."""
        trigger, path = alert.trigger, f"/v1/sessions/{self._live.name}"
        return {
            "alert": alert.name,
            "name": alert.request.name,
            "question": alert.request.question,
            "hit": trigger.n_hits,
            "time_s": _rounded(trigger.fired_seconds),
            "since_s": _rounded(trigger.above_since_seconds),
            "probability": round(probability, _N_DIGITS),
            "thumbnail": f"{path}/thumbnail?time_s={trigger.fired_seconds:.3f}",
            "picture": f"{path}/alerts/{alert.name}/hits/{trigger.n_hits}/picture",
        }

    def _picture(self, time_seconds: float) -> bytes:
        """On a thread. The frame of a time, or its small picture where the frame is gone; nothing without either."""
        frame = next((frame for frame in list(self._frames) if frame.pts_seconds == time_seconds), None)
        if frame is not None:
            return to_jpeg(frame, _PICTURE_WIDTH_PIXELS)
        found = self._live.thumbnails.nearest(time_seconds)
        return found[1] if found is not None and found[0] == time_seconds else b""

    def _write(self, alert: Alert) -> None:
        self._journal.put(ALERT, alert.name, self._live.name, alert.record())

    def _end_task(self, name: str) -> bool:
        """Whether there was one."""
        task = self._tasks.pop(name, None)
        return task is not None and task.cancel()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
