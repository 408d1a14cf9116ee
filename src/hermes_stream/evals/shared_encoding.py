"""One pass of the vision tower for all sessions that watch the same frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, cast

from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.types import Frame, VisualTokens

# Sessions that watch the same batch stand at most a few pieces apart.
_N_BATCHES = 8


class SharedEncoding:
    """An adapter that remembers the last few batches of frames that it encoded; all else is the inner adapter's.

    A batch is known again by the identity of its frames (`Frame` has no equality of values), in their order, and by the
    stream's beginning: so grids of two frames, and a frame that stands in for its missing partner, keep apart. Nobody
    writes to encodings; sessions may share them.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        # Keys hold their frames, so no identity is given to another frame while it is known here.
        self._known: OrderedDict[tuple[tuple[Frame, ...], float, bool], VisualTokens] = OrderedDict()
        # A question encodes frames that wait for a partner, perhaps while others are being encoded.
        self._lock = Lock()

    def embed(self, frames: Sequence[Frame], *, since_seconds: float, wants_saliency: bool = False) -> VisualTokens:
        return self.embed_clips([Clip(frames, since_seconds)], wants_saliency=wants_saliency)[0]

    def embed_clips(self, clips: Sequence[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        keys = [(tuple(clip.frames), clip.since_seconds, wants_saliency) for clip in clips]
        with self._lock:
            unknown = {key: clip for key, clip in zip(keys, clips, strict=True) if key not in self._known}
            if unknown:
                new = self._adapter.embed_clips(list(unknown.values()), wants_saliency=wants_saliency)
                self._known.update(zip(unknown, new, strict=True))
            tokens = [self._known[key] for key in keys]
            while len(self._known) > _N_BATCHES:
                self._known.popitem(last=False)
        return tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


def share_encoding(adapter: Adapter) -> Adapter:
    """The same adapter, whose sessions share the encoding of frames that they watch together."""
    return cast(Adapter, SharedEncoding(adapter))
