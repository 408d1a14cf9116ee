"""StreamingVLM's cache: the last seconds of vision, the first and the last text, positions without gaps.

Source: StreamingVLM, arXiv 2510.09608, and its released code (MIT).

Shape letters: N rows of one layer after its prefix.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from hermes_stream.memory.plan import LayerPlan, Plan, Positions
from hermes_stream.memory.token_table import NO_TURN, TokenKind
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy
from hermes_stream.policies.rounds import Rounds, Windows

# Steps of a second are floats: what is meant to be a whole number of them must not be floored to the one below.
_TIME_SLACK = 1e-6


class StreamingVLM(Policy):
    """Keep the last seconds of vision and, of the text before them, its head and its tail; close every gap.

    Needs: nothing. Budget: rows of each layer, a bound beside the seconds; the same rows in all layers.

    With commentary (`Session.narrate`): replies of the last `text_seconds` stay where they were given; the words of
    older ones move to the previous text, behind the prefix, and are not computed again. Frames of the last `seconds`
    stay. The instruction is part of the prefix and never leaves. Where the budget holds less, frames go first.
    Without: text is what stands between the frames (Qwen3-VL's times), and what is older than the window is its text.

    seconds: the window of vision, the round that is being spoken included; without commentary back from the newest
    frame. Where the budget holds less, its oldest whole frames go first; of a single frame that is larger, the last
    rows stay. vision_tokens: the most rows of frames that wait for the next round.
    text_seconds: of replies that stay in place; by default as of vision.
    text_head, text_tail: words of the previous text, the first ones for ever and the newest; what is between is
    dropped. The source has 512 and 511 in a context of 13,000 tokens; here each is at most a quarter of what the budget
    leaves beside one frame, so that vision always has half of it.
    positions: "contiguous" lays out afresh what is held, once a round; "native" leaves it where it was, with gaps,
    until positions run out.

    Preset `released`: windows counted in `rounds`, whatever their length; the instruction asked in the first round,
    with which it leaves; the last token of a reply lost where it has no marker (`strips`); a tail of 511.
    The published results need a checkpoint that was tuned for this layout.
    """

    name: ClassVar[str] = "streaming-vlm"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "released": {"windows": "rounds", "instruction": "first-round", "strips": "last", "text_tail": 511}
    }
    is_per_frame: ClassVar[bool] = True
    plans_rounds: ClassVar[bool] = True

    seconds: float = Field(default=16.0, gt=0)
    vision_tokens: int | None = Field(default=None, ge=0)
    text_seconds: float | None = Field(default=None, gt=0)
    text_head: int = Field(default=512, ge=0)
    text_tail: int = Field(default=512, ge=0)
    positions: Literal["contiguous", "native"] = "contiguous"
    windows: Literal["seconds", "rounds"] = "seconds"
    instruction: Literal["pinned", "first-round"] = "pinned"
    strips: Literal["marker", "last"] = "marker"

    @property
    def placement(self) -> Positions:
        return Positions.CONTIGUOUS

    @property
    def pins_instruction(self) -> bool:
        return self.instruction == "pinned"

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        layer = view.layers[0]  # the same rows in every layer
        if layer.n_rows == 0:
            return Plan.keep_all(), state
        turn_N = layer.table.turn_HN[0].cpu()
        stay_N = self._last_seconds(view) if bool((turn_N == NO_TURN).all()) else self._last_rounds(view, turn_N)
        keep_N, place_N = stay_N.to(layer.kind_N.device).sort()
        moves = not torch.equal(keep_N, stay_N.to(keep_N.device))
        if not moves and keep_N.numel() == layer.n_rows:
            return Plan.keep_all(), state
        plan = LayerPlan(keep_N, order=place_N.argsort() if moves else None)
        positions = Positions.CONTIGUOUS if self.positions == "contiguous" else Positions.KEEP
        return Plan((plan,) * view.n_layers, positions), state

    def _last_rounds(self, view: MemoryView, turn_N: torch.Tensor) -> torch.Tensor:
        """Rows that stay of a stream with commentary, in their new order."""
        rounds = Rounds(turn_N, strips_last=self.strips == "last")
        head, tail = self._text_bounds(view)
        n_vision, n_text = (self._n_rounds(view, seconds) for seconds in (self.seconds, self._text_seconds))
        stay_N = torch.empty(0, dtype=torch.int64)
        for windows in Windows(n_vision, n_text, head, tail).smaller():
            stay_N = rounds.stay(windows)
            fits = self.vision_tokens is None or rounds.n_frame_rows(windows) <= self.vision_tokens
            if fits and (self.budget is None or stay_N.numel() <= self.budget):
                return stay_N
        # Not even the ends of an empty previous text.
        return stay_N[max(stay_N.numel() - (self.budget or 0), 0) :]

    @property
    def _text_seconds(self) -> float:
        return self.seconds if self.text_seconds is None else self.text_seconds

    def _n_rounds(self, view: MemoryView, seconds: float) -> int:
        """Rounds of a window; the one that is spoken is always in it."""
        step_seconds = view.step_seconds if self.windows == "seconds" else 1.0
        return max(int(seconds / step_seconds + _TIME_SLACK), 1)

    def _text_bounds(self, view: MemoryView) -> tuple[int, int]:
        if self.budget is None:
            return self.text_head, self.text_tail
        most = max(self.budget - view.tokens_per_frame, 0) // 4
        return min(self.text_head, most), min(self.text_tail, most)

    def _last_seconds(self, view: MemoryView) -> torch.Tensor:
        """Rows that stay of a stream without commentary."""
        layer, budget = view.layers[0], self.budget or 0
        is_text_N = layer.kind_N == TokenKind.TEXT
        n_head, n_tail = self._text_bounds(view)
        room = budget - min(int(is_text_N.sum()), n_head + n_tail)
        first = max(self._first_in_time(layer), _first_that_fits(layer.frame_N, room))
        old_text_N = is_text_N[:first].nonzero()[:, 0]
        if old_text_N.numel() > n_head + n_tail:
            old_text_N = torch.cat((old_text_N[:n_head], old_text_N[old_text_N.numel() - n_tail :]))
        window_N = torch.arange(first, layer.n_rows, device=old_text_N.device)
        return torch.cat((old_text_N, window_N))

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
