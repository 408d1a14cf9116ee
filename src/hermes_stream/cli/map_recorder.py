"""What `map`, `demo` and `--map` remember of a stream, to draw its memory at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from hermes_stream.cli.output import say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.cli.stream_options import Opened
    from hermes_stream.types import Frame
    from hermes_stream.viz.memory_map import Mark

_T = TypeVar("_T")
_N_PICTURES = 18
_MOST_MARKS = 400


class Spread(Generic[_T]):
    """Endlessly many items, of which between half and all of `most` are kept, by number: every n-th, n doubling."""

    def __init__(self, most: int) -> None:
        self.kept: dict[int, _T] = {}
        self._most = most
        self._stride = 1
        self._n_seen = 0

    def add(self, item: _T) -> None:
        if self._n_seen % self._stride == 0:
            self.kept[self._n_seen] = item
        self._n_seen += 1
        if len(self.kept) > self._most:
            self._stride *= 2
            self.kept = {number: kept for number, kept in self.kept.items() if number % self._stride == 0}


class MapRecorder:
    """Keeps a few frames and moments, evenly spaced however long the stream is, and draws its memory at the end.

    Frames are kept as large as they came: no recorder without a map.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._questions: Spread[Mark] = Spread(_MOST_MARKS)
        self._frames: Spread[Frame] = Spread(2 * _N_PICTURES)
        self._compressions: Spread[float] = Spread(_MOST_MARKS)
        self._n_compressions = 0

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass frames on and look between them whether the memory was compressed."""
        for frame in frames:
            self._look()
            self._frames.add(frame)
            yield frame

    def asked_at(self, time_seconds: float, is_right: bool | None = None) -> None:
        """Mark a question; is_right colours it."""
        from hermes_stream.viz.memory_map import Mark

        self._questions.add(Mark(time_seconds, is_right))

    @property
    def compression_seconds(self) -> Sequence[float]:
        """Stream times of compressions; not all of them where they are many."""
        self._look()
        return tuple(self._compressions.kept.values())

    def draw(self, folder: Path, layer: int | None = None) -> None:
        """memory.png and patches.png, the latter of one layer (by default the last)."""
        if not self._opened.session.memory.grids_seen:
            say("note: no frame was seen, so there is no memory to draw")
            return
        self.draw_memory(folder / "memory.png")
        self.draw_patches(folder / "patches.png", self._opened.engine.model.n_layers - 1 if layer is None else layer)

    def draw_memory(self, path: Path) -> None:
        """Layers against time, frames above it."""
        from hermes_stream.viz.memory_map import draw_memory_map

        session = self._opened.session
        version = session.memory
        draw_memory_map(
            version,
            path,
            groups=session.policy.layer_groups(len(version.layers)),
            title=f"What {session.policy.title} still holds after {version.time_seconds:.0f} s",
            marks=list(self._questions.kept.values()),
            compression_seconds=self.compression_seconds,
            pictures=list(self._chosen().values()),
        )
        say(f"{path}: layers × time, what is still held")

    def draw_patches(self, path: Path, layer: int) -> None:
        """The frames, with the cells that one layer holds."""
        from hermes_stream.viz.held_patches import draw_held_patches

        per_grid = self._opened.engine.model.frames_per_grid
        chosen = {index // per_grid: frame for index, frame in self._chosen().items()}
        draw_held_patches(self._opened.session.memory, chosen, layer, path)
        say(f"{path}: the patches that layer {layer} still holds")

    def _look(self) -> None:
        """An interval at most is handed to the session at once, so that no compression goes by between two looks."""
        stats = self._opened.session.stats
        if stats.n_compressions > self._n_compressions and stats.last_compression_seconds is not None:
            self._n_compressions = stats.n_compressions
            self._compressions.add(stats.last_compression_seconds)

    def _chosen(self) -> dict[int, Frame]:
        """At most 18 of the frames, evenly."""
        kept = self._frames.kept
        return dict(list(kept.items())[:: max(math.ceil(len(kept) / _N_PICTURES), 1)])


def check_can_draw(folder: Path) -> None:
    """Raise ConfigError for what would otherwise fail only when the video has been watched."""
    from hermes_stream.viz.figure import require_matplotlib

    require_matplotlib()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder for memory.png and patches.png")
