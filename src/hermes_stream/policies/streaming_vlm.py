"""StreamingVLM's cache: the last seconds of vision, the first and the last text, positions without gaps.

Source: StreamingVLM, arXiv 2510.09608, and its released code (MIT).

Shape letters: N rows of one layer after its prefix.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy


class StreamingVLM(Policy):
    """Keep the last seconds of vision and, of the text before them, its head and its tail; close every gap.

    Needs: nothing. Budget: rows of each layer, a bound beside the seconds; the same rows in all layers.
    seconds: the window, back from the newest frame. Where the budget holds less, its oldest whole frames go first; of a
    single frame that is larger, the last rows stay.
    text_head, text_tail: rows of text older than the window, the first ones for ever and the newest; what is between is
    dropped. The source has 512 and 512 in a context of 13,000 tokens; here each is at most a quarter of what the budget
    leaves beside one frame, so that vision always has half of it. Text within the window stays with its frames.

    Text is what stands between the frames (Qwen3-VL's times). The source drops these with their frames and keeps its
    own commentary instead, which is not committed to the memory yet. Its window counts rounds, ours is in seconds. Its
    prompt leaves with the first round; the prefix here never does. The published results need a checkpoint that was
    tuned for this layout.
    """

    name: ClassVar[str] = "streaming-vlm"
    is_per_frame: ClassVar[bool] = True

    seconds: float = Field(default=16.0, gt=0)
    text_head: int = Field(default=512, ge=0)
    text_tail: int = Field(default=512, ge=0)

    @property
    def placement(self) -> Positions:
        return Positions.CONTIGUOUS

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        layer = view.layers[0]  # the same rows in every layer
        if layer.n_rows == 0:
            return Plan.keep_all(), state
        is_text_N = layer.kind_N == TokenKind.TEXT
        most = max((self.budget_tokens or 0) - view.tokens_per_frame, 0) // 4
        n_head, n_tail = min(self.text_head, most), min(self.text_tail, most)
        room = (self.budget_tokens or 0) - min(int(is_text_N.sum()), n_head + n_tail)
        first = max(self._first_in_time(layer), _first_that_fits(layer.frame_N, room))
        old_text_N = is_text_N[:first].nonzero()[:, 0]
        if old_text_N.numel() > n_head + n_tail:
            old_text_N = torch.cat((old_text_N[:n_head], old_text_N[old_text_N.numel() - n_tail :]))
        window_N = torch.arange(first, layer.n_rows, device=old_text_N.device)
        keep_N = torch.cat((old_text_N, window_N))
        if keep_N.numel() == layer.n_rows:
            return Plan.keep_all(), state
        return Plan.same_rows(keep_N, view.n_layers, Positions.CONTIGUOUS), state

    def _first_in_time(self, layer: LayerView) -> int:
        """The first row of the window; rows are in time order."""
        seconds_N = layer.seconds_N
        return int((seconds_N <= seconds_N[-1] - self.seconds).sum())


def _first_that_fits(frame_N: torch.Tensor, room: int) -> int:
    """Where the newest whole frames begin that have room together, or the rows of the newest frame that have."""
    n_rows = frame_N.numel()
    if n_rows <= room:
        return 0
    first = int((frame_N <= frame_N[n_rows - room - 1]).sum())
    return n_rows - room if first == n_rows else first
