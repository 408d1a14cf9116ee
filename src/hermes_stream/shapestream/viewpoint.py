"""What a viewer who samples frames can know at one moment: the margins that make a question fair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream.script import ENTER_SECONDS, Dice, Kind, Presence, Scene, Script

SETTLED_INTERVALS = 1.5
WINDOW_SECONDS = 60.0

# An object needs this long to slide in; before that even a fast sampler may have seen only a part of it.
_SHORTEST_MARGIN_SECONDS = ENTER_SECONDS + 0.1


@dataclass(frozen=True)
class Viewpoint:
    """The script as seen at `time_seconds` by a viewer who began at `since_seconds` and samples `fps` frames a second.

    A fact counts as shown when it was on screen for `margin_seconds`, 1.5 sampling intervals; `is_settled` says that no
    presence of the past or present is in doubt.
    reaches_back: questions about something shown are about any time since the beginning; otherwise about any presence,
        of which each kind's last is seldom long ago.
    """

    script: Script
    time_seconds: float
    fps: float
    since_seconds: float = 0.0
    reaches_back: bool = False

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise ConfigError(f"fps must be above 0, got {self.fps}")

    @property
    def margin_seconds(self) -> float:
        """How long a fact must have held before a question relies on it."""
        return max(SETTLED_INTERVALS / self.fps, _SHORTEST_MARGIN_SECONDS)

    @cached_property
    def scene(self) -> Scene:
        """The scene on screen."""
        return self.script.scene_at(self.time_seconds)

    @cached_property
    def current(self) -> Presence | None:
        """The presence on screen, or None."""
        return self.script.presence_at(self.time_seconds)

    @cached_property
    def begun(self) -> tuple[Presence, ...]:
        """Presences that began in `[since_seconds, time_seconds]`, in time order."""
        begun = self.script.presences[: self.script.presence_index(self.time_seconds)]
        return tuple(p for p in begun if p.start_seconds >= self.since_seconds)

    @cached_property
    def past(self) -> tuple[Presence, ...]:
        """Presences that have ended."""
        return tuple(p for p in self.begun if p.end_seconds <= self.time_seconds)

    def pick(self, presences: Sequence[Presence], dice: Dice) -> Presence:
        """What a question is about, out of these (at least one)."""
        if not self.reaches_back:
            return dice.choice(presences)
        # Squared, so that each octave of ages gets some: a quarter of the draws is below a sixteenth of the stream.
        age_seconds = (self.time_seconds - self.since_seconds) * dice.uniform(0, 1) ** 2
        lasts = {presence.kind: presence for presence in presences}.values()
        return min(lasts, key=lambda last: abs(self.age_seconds(last) - age_seconds))

    @property
    def room_is_settled(self) -> bool:
        """Whether the room on screen has been there for the margin."""
        return self.time_seconds - self.scene.start_seconds >= self.margin_seconds

    @cached_property
    def is_settled(self) -> bool:
        """Whether what is on screen has been there for the margin and every past presence lasted that long."""
        return self.room_is_settled and self._screen_is_settled and self._past_is_settled

    @cached_property
    def _screen_is_settled(self) -> bool:
        if self.current is not None:
            leaves_at = self.current.end_seconds - (ENTER_SECONDS if self.current.slides_out else 0.0)
            has_stood = self.time_seconds - self.current.start_seconds >= self.margin_seconds
            return has_stood and self.time_seconds < leaves_at
        last_end = self.past[-1].end_seconds if self.past else self.since_seconds
        return self.time_seconds - last_end >= self.margin_seconds

    @cached_property
    def _past_is_settled(self) -> bool:
        return all(p.end_seconds - p.start_seconds >= self.margin_seconds for p in self.past)

    @cached_property
    def place_is_settled(self) -> bool:
        """Whether a single object has been standing still for the margin."""
        current = self.current
        if current is None or current.count > 1 or not self.is_settled:
            return False
        stands_since = current.start_seconds + (ENTER_SECONDS if current.slides_in else 0.0)
        if current.moves and self.time_seconds >= current.move_start_seconds:
            stands_since = current.move_end_seconds
        return self.time_seconds - stands_since >= self.margin_seconds

    @cached_property
    def settled_direction(self) -> str | None:
        """`left`, `right` or `still` when the last sampled frames show it beyond doubt, else None."""
        current = self.current
        if current is None or current.count > 1 or not self.is_settled:
            return None
        needed_seconds = self.margin_seconds + 1 / self.fps
        began = self.time_seconds - needed_seconds
        if current.moves and current.move_start_seconds <= began and self.time_seconds < current.move_end_seconds:
            return current.direction
        stands_since = current.move_end_seconds if current.moves else current.start_seconds + ENTER_SECONDS
        return "still" if stands_since <= began else None

    @cached_property
    def in_window(self) -> tuple[Presence, ...] | None:
        """Presences of the last `WINDOW_SECONDS`, or None where one of them begins or ends in doubt."""
        edge = self.time_seconds - WINDOW_SECONDS
        if any(abs(p.end_seconds - edge) < self.margin_seconds for p in self.past):
            return None
        return tuple(p for p in self.begun if p.end_seconds > edge)

    @cached_property
    def kinds_seen(self) -> frozenset[Kind]:
        """Every kind shown so far."""
        return frozenset(p.kind for p in self.begun)

    def age_seconds(self, presence: Presence) -> float:
        """Seconds since the presence left the screen; 0 while it is visible."""
        return max(0.0, self.time_seconds - presence.end_seconds)
