"""Pictures of a realtime client as frames of a session."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.openai_api.realtime_messages import ImageContent
from hermes_stream.server.problems import ApiError
from hermes_stream.server.push.images import PictureFormat
from hermes_stream.server.settings import Limits

_GAP = "nobody showed anything"
_GONE = "the client that showed pictures has gone"


class PictureFeed:
    """Feeds a session from its first picture on; until then others may."""

    def __init__(self, limits: Limits, decoding: Executor) -> None:
        """decoding: threads on which pictures are decoded."""
        self._format = PictureFormat(limits.max_frame_bytes, limits.max_frame_pixels)
        self._decoding = decoding
        self._fed: LiveSession | None = None

    async def show(self, live: LiveSession, part: ImageContent) -> None:
        """The stream's next frame; returns once it is in.

        Raises ApiError where somebody else feeds the session or the time falls, UsageError for what is no picture.
        """
        time_seconds = live.now_seconds() if part.time_s is None else part.time_s
        loop = asyncio.get_running_loop()
        frame = await loop.run_in_executor(self._decoding, self._format.to_frame, part.image_url, time_seconds)
        newest = live.newest_seconds
        if newest is not None and time_seconds < newest:
            told = (
                f"a picture at {time_seconds:.3f} s comes when the session stands at {newest:.3f} s; times never fall"
            )
            raise ApiError(400, "invalid_request", told, "item.content")
        if live is not self._fed:
            live.begin_feed("push")
            # A session that was put away and brought back is another object.
            self.end()
            self._fed = live
            live.resume(time_seconds, _GAP)
        await asyncio.to_thread(live.watch, [frame])

    def end(self) -> None:
        """No more pictures."""
        if self._fed is not None:
            self._fed.end_feed("gap", _GONE)
            self._fed = None
