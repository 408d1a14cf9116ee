"""What happens in the synthetic world, and when: a seeded, endless script with exact ground truth.

A script is a sequence of scenes. A scene shows one room and, one after the other, its presences: a kind of object
(colour and shape) in one to three copies, which enters, stands or moves, may change colour (that begins a new presence)
and leaves. A display on the wall of some rooms shows a digit. Everything is decided by `random.Random.random`, whose
stream Python guarantees, so a seed means the same episode on every machine and a longer script begins with the shorter
one.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from hermes_stream.errors import ConfigError

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLORS = ("red", "green", "blue", "yellow", "purple", "white")
ROOMS = ("blue", "green", "red", "yellow", "purple", "gray", "brown", "black")
TEXTURES = ("plain", "stripes", "dots")
SIZES = ("small", "large")
SLOTS = {"left": 0.2, "middle": 0.5, "right": 0.8}

TRAINING_SEEDS = range(900_000)
EVALUATION_SEEDS = range(900_000, 1_000_000)

ENTER_SECONDS = 0.5
SHORTEST_PRESENCE_SECONDS = 3.0

# Two colours of each shape of an episode are left, so that objects can still change theirs.
MOST_LANDMARKS = (len(SHAPES) - 1) * (len(COLORS) - 3)

_RECENT_ROOMS = 5
_RECENT_KINDS = 3
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """A colour and a shape: what a question calls an object."""

    color: str
    shape: str

    def __str__(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True, slots=True)
class Presence:
    """One kind of object on screen during `[start_seconds, end_seconds)`.

    count: copies side by side, 1 to 3; only a single object moves.
    slot, end_slot: where it stands before and after it moves during `[move_start_seconds, move_end_seconds)`.
    slides_in, slides_out: whether it enters or leaves through the nearest side, in `ENTER_SECONDS` inside the interval.
    """

    kind: Kind
    room: str
    start_seconds: float
    end_seconds: float
    size: str
    count: int
    slot: str
    end_slot: str
    move_start_seconds: float
    move_end_seconds: float
    slides_in: bool
    slides_out: bool

    @property
    def moves(self) -> bool:
        """Whether the object changes its place."""
        return self.slot != self.end_slot

    @property
    def direction(self) -> str:
        """`left` or `right` for an object that moves, else `still`."""
        if not self.moves:
            return "still"
        return "right" if SLOTS[self.end_slot] > SLOTS[self.slot] else "left"

    def is_visible(self, time_seconds: float) -> bool:
        """Whether the presence covers this moment."""
        return self.start_seconds <= time_seconds < self.end_seconds


@dataclass(frozen=True, slots=True)
class Scene:
    """One room during `[start_seconds, end_seconds)`, its display and its presences in time order.

    digit: what the display shows, or None where no display hangs.
    shade: brightness factor of the room; phase: offset of its texture, both 0 to 1.
    """

    start_seconds: float
    end_seconds: float
    room: str
    texture: str
    shade: float
    phase: float
    digit: int | None
    presences: tuple[Presence, ...]


@dataclass(frozen=True)
class Script:
    """The scenes of one seed; they cover at least `[0, duration_seconds)`."""

    seed: int
    duration_seconds: float
    scenes: tuple[Scene, ...]

    @cached_property
    def presences(self) -> tuple[Presence, ...]:
        """All presences in time order; they never overlap."""
        return tuple(presence for scene in self.scenes for presence in scene.presences)

    @cached_property
    def _scene_starts(self) -> list[float]:
        return [scene.start_seconds for scene in self.scenes]

    @cached_property
    def _presence_starts(self) -> list[float]:
        return [presence.start_seconds for presence in self.presences]

    def scene_at(self, time_seconds: float) -> Scene:
        """The scene on screen; raises ConfigError outside the script."""
        index = bisect.bisect_right(self._scene_starts, time_seconds) - 1
        if index < 0 or time_seconds >= self.scenes[-1].end_seconds:
            raise ConfigError(f"time {time_seconds} lies outside the script's {self.duration_seconds} seconds")
        return self.scenes[index]

    def presence_index(self, time_seconds: float) -> int:
        """How many presences have begun by this moment."""
        return bisect.bisect_right(self._presence_starts, time_seconds)

    def presence_at(self, time_seconds: float) -> Presence | None:
        """The presence on screen, or None in an empty room."""
        index = self.presence_index(time_seconds) - 1
        if index < 0 or not self.presences[index].is_visible(time_seconds):
            return None
        return self.presences[index]


class Dice:
    """Random choices made of `random.Random.random` alone, the only part whose stream is stable across versions."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        """A number in `[low, high)`."""
        return low + (high - low) * self._random.random()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def choice(self, options: Sequence[_T]) -> _T:
        """One of the options."""
        return options[int(self._random.random() * len(options))]


def make_script(seed: int, duration_seconds: float, *, pace: float = 1.0, landmarks: int = 0) -> Script:
    """The episode of a seed, as long as wanted; without landmarks a longer one begins with the scenes of a shorter one.

    seed: training uses `TRAINING_SEEDS`, evaluation `EVALUATION_SEEDS`; any integer works.
    pace: factor on all durations; 1 gives scenes of about 5 to 16 seconds.
    landmarks: kinds that are shown once in the whole episode, one in each of as many equal parts of it. All others come
        back every few minutes, so that without landmarks hardly a question is about anything older.
    Raises ConfigError for a duration or pace that is not positive, and for more landmarks than kinds to spare.
    """
    if not duration_seconds > 0 or not pace > 0:
        raise ConfigError(f"duration and pace must be above 0, got {duration_seconds} and {pace}")
    if not 0 <= landmarks <= MOST_LANDMARKS:
        raise ConfigError(f"landmarks is {landmarks}; expected 0 to {MOST_LANDMARKS}")
    writer = _Writer(Dice(seed), pace)
    if landmarks:
        writer.set_landmarks(landmarks, duration_seconds)
    scenes: list[Scene] = []
    while not scenes or scenes[-1].end_seconds < duration_seconds:
        scenes.append(writer.next_scene())
    return Script(seed=seed, duration_seconds=duration_seconds, scenes=tuple(scenes))


def scenes_of(seed: int) -> Iterator[Scene]:
    """The scenes of a seed without end: those of `make_script`, however long."""
    writer = _Writer(Dice(seed), pace=1.0)
    while True:
        yield writer.next_scene()


class _Writer:
    """Writes scene after scene. One shape, colour and room stay out of an episode: asking for them is always fair."""

    def __init__(self, dice: Dice, pace: float) -> None:
        self._dice = dice
        self._pace = pace
        self._clock = 0.0
        self._shapes = self._all_but_one(SHAPES)
        self._colors = self._all_but_one(COLORS)
        self._rooms = self._all_but_one(ROOMS)
        self._recent_rooms: list[str] = []
        self._recent_kinds: list[Kind] = []
        self._landmarks: frozenset[Kind] = frozenset()
        self._coming: list[tuple[float, Kind]] = []

    def set_landmarks(self, n: int, duration_seconds: float) -> None:
        """Choose kinds that come once, shapes in turn, and when: at a random moment of one of n equal parts each."""
        for index in range(n):
            shape = self._shapes[index % len(self._shapes)]
            kinds = [Kind(color, shape) for color in self._colors]
            kind = self._dice.choice([kind for kind in kinds if kind not in self._landmarks])
            self._landmarks |= {kind}
            self._coming.append((self._dice.uniform(index, index + 1) / n * duration_seconds, kind))

    def next_scene(self) -> Scene:
        dice = self._dice
        start = self._clock
        room = self._next_room()
        digit = int(dice.uniform(0, 10)) if dice.chance(0.6) else None
        shade, phase, texture = dice.uniform(0, 1), dice.uniform(0, 1), dice.choice(TEXTURES)
        self._wait(4.0, 5.5) if dice.chance(0.12) else self._wait(0.2, 1.0)
        presences = self._main_presences(room)
        if dice.chance(0.2):
            self._wait(0.5, 1.5)
            presences += self._main_presences(room)
        self._wait(0.1, 0.8)
        return Scene(start, self._clock, room, texture, shade, phase, digit, tuple(presences))

    def _main_presences(self, room: str) -> list[Presence]:
        if self._coming and self._coming[0][0] <= self._clock:
            return [self._presence(self._coming.pop(0)[1], room, slides_in=True, slides_out=True, like=None)]
        kind = self._next_kind(self._shapes)
        changes_color = self._dice.chance(0.25)
        first = self._presence(kind, room, slides_in=True, slides_out=not changes_color, like=None)
        if not changes_color:
            return [first]
        changed = self._next_kind((kind.shape,))
        return [first, self._presence(changed, room, slides_in=False, slides_out=True, like=first)]

    def _presence(self, kind: Kind, room: str, *, slides_in: bool, slides_out: bool, like: Presence | None) -> Presence:
        """`like`: the presence that this one continues in another colour."""
        dice = self._dice
        start = self._clock
        count = like.count if like else (1 if dice.chance(0.7) else 2 + int(dice.uniform(0, 2)))
        size = like.size if like else dice.choice(SIZES)
        slot = like.end_slot if like else dice.choice(tuple(SLOTS))
        end_slot = slot
        move_start = move_end = start
        if like is None and count == 1 and dice.chance(0.5):
            end_slot = dice.choice([name for name in SLOTS if name != slot])
            move_start = start + ENTER_SECONDS + self._pace * dice.uniform(0.1, 0.6)
            seconds_per_slot = dice.uniform(3.5, 4.5)
            n_slots = round(abs(SLOTS[end_slot] - SLOTS[slot]) / 0.3)
            move_end = move_start + self._pace * seconds_per_slot * (1.0 if n_slots == 1 else 1.5)
        self._clock = max(move_end, start)
        self._wait(SHORTEST_PRESENCE_SECONDS, 6.0)
        return Presence(
            kind, room, start, self._clock, size, count, slot, end_slot, move_start, move_end, slides_in, slides_out
        )

    def _next_room(self) -> str:
        room = self._dice.choice([name for name in self._rooms if name not in self._recent_rooms])
        self._recent_rooms = [*self._recent_rooms, room][-_RECENT_ROOMS:]
        return room

    def _next_kind(self, shapes: Sequence[str]) -> Kind:
        kinds = [Kind(color, shape) for color in self._colors for shape in shapes]
        common = [kind for kind in kinds if kind not in self._landmarks]
        # Landmarks may leave a shape no colour but recent ones.
        new = [kind for kind in common if kind not in self._recent_kinds]
        kind = self._dice.choice(new or [kind for kind in common if kind != self._recent_kinds[-1]])
        self._recent_kinds = [*self._recent_kinds, kind][-_RECENT_KINDS:]
        return kind

    def _wait(self, low_seconds: float, high_seconds: float) -> None:
        self._clock += self._pace * self._dice.uniform(low_seconds, high_seconds)

    def _all_but_one(self, names: Sequence[str]) -> tuple[str, ...]:
        left_out = self._dice.choice(names)
        return tuple(name for name in names if name != left_out)
