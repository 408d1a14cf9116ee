"""The vision stage: frames of many streams go through the vision tower together, before the text model wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from hermes_stream.engine.jobs import WatchJob
from hermes_stream.engine.schedule import share
from hermes_stream.engine.side_stream import take_over
from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.stages import VISION, stage
from hermes_stream.types import VisualTokens


@dataclass(frozen=True, slots=True)
class Encoded:
    """Frames of a job that left the vision tower, or what went wrong. ready: on the device, once they may be read."""

    job: WatchJob
    result: VisualTokens | BaseException
    ready: torch.cuda.Event | None = None

    def tokens(self) -> VisualTokens:
        """The device's current stream, not the host, waits until they are there. Raises what went wrong."""
        if isinstance(self.result, BaseException):
            raise self.result
        if self.ready is not None:
            take_over((self.result.embeddings_NE, *self.result.deepstack, self.result.saliency_N), self.ready)
        return self.result


def overlaps_vision(device: torch.device) -> bool:
    """Whether encoding beside the text model is faster than before it: on an accelerator, whose host prepares pixels
    meanwhile; not on a CPU, where both want the same cores.
    """
    return device.type == "cuda"


class VisionStage:
    """Encodes clips for the engine's thread: at once, or on a thread (and a device's stream) of its own.

    overlaps: whether the text model goes on meanwhile. One batch is under way at a time, and none of a stream that has
    encoded frames left, so that it is ahead by one interval of each stream at most.
    """

    def __init__(self, adapter: Adapter, deliver: Callable[[list[Encoded]], None], *, overlaps: bool) -> None:
        """deliver: called with each finished batch, on the stage's thread if it has one."""
        self.overlaps = overlaps
        self._adapter = adapter
        self._deliver = deliver
        self._pool = ThreadPoolExecutor(1, "hermes-stream vision") if overlaps else None
        device = adapter.facts.device
        self._stream = torch.cuda.Stream(device) if overlaps and device.type == "cuda" else None

    def start(self, jobs: Sequence[WatchJob], room: int) -> bool:
        """Encode what these jobs bring next, in whole grids, until it fills the room; whether there is any."""
        requests = _requests(self._adapter, jobs, room)
        if not requests:
            return False
        if self._pool is None:
            self._deliver(encode(self._adapter, requests))
        else:
            self._pool.submit(self._encode_beside, requests)
        return True

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def _encode_beside(self, requests: list[tuple[WatchJob, Clip]]) -> None:
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            encoded = encode(self._adapter, requests)
            ready = None if self._stream is None else self._stream.record_event()
        self._deliver([Encoded(part.job, part.result, ready) for part in encoded])


def encode(adapter: Adapter, requests: Sequence[tuple[WatchJob, Clip]]) -> list[Encoded]:
    """Each clip through the vision tower, in one call, or two where some want saliency.

    Where a call fails each clip goes alone, so that only those fail that must.
    """
    encoded: list[Encoded] = []
    for wants_saliency in (False, True):
        chosen = [request for request in requests if request[0].stream.policy.needs_saliency is wants_saliency]
        clips = [clip for _, clip in chosen]
        results = _embed(adapter, clips, wants_saliency=wants_saliency) if clips else []
        for (job, clip), result in zip(chosen, results, strict=True):
            encoded.append(Encoded(job, result if isinstance(result, BaseException) else clip.count(result)))
    return encoded


def _embed(adapter: Adapter, clips: Sequence[Clip], *, wants_saliency: bool) -> Sequence[VisualTokens | BaseException]:
    try:
        with stage(VISION):
            return adapter.embed_clips(clips, wants_saliency=wants_saliency)
    except BaseException as error:
        if len(clips) == 1:
            return [error]
    return [_embed(adapter, [clip], wants_saliency=wants_saliency)[0] for clip in clips]


def _requests(adapter: Adapter, jobs: Sequence[WatchJob], room: int) -> list[tuple[WatchJob, Clip]]:
    if room < 1:
        return []
    most_rows, per_grid = adapter.facts.tokens_per_frame, adapter.facts.frames_per_grid
    clips = [job.next_clip() for job in jobs]
    wholes = [job.frames_together(clip) if clip else per_grid for job, clip in zip(jobs, clips, strict=True)]
    rows = [
        [most_rows * (whole // per_grid)] * (len(clip.frames) // whole) if clip else []
        for clip, whole in zip(clips, wholes, strict=True)
    ]
    return [
        (job, replace(clip, frames=clip.frames[: n * whole]))
        for job, clip, whole, n in zip(jobs, clips, wholes, share(rows, room), strict=True)
        if clip and n
    ]
