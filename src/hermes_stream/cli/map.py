"""`hermes-stream map`: what a memory still holds at the end of a video, as pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.ask import parse_question, report_damage, with_progress
from hermes_stream.cli.output import say
from hermes_stream.cli.stream_options import Opened, Options, StreamOptions, open_stream
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.types import Frame
    from hermes_stream.viz.memory_map import Mark

_N_PICTURES = 18


def map_memory(
    source: str,
    /,
    *,
    out: Path = Path("memory-map"),
    layer: int | None = None,
    question: Annotated[list[str] | None, Parameter(negative="")] = None,
    options: Options = None,
) -> None:
    """Watch a video and draw what each layer still holds, and which patches of its frames.

    Parameters
    ----------
    source
        A file, or the URL of a stream that ends.
    out
        Folder for memory.png and patches.png.
    layer
        The layer whose patches are drawn over the frames. Default: the last.
    question
        "SECONDS=TEXT", or "end=TEXT"; its moment is marked. May be repeated.
    """
    from hermes_stream.engine.timeline import answer_in_time
    from hermes_stream.viz.memory_map import Mark

    questions = [parse_question(text) for text in question or []]
    with open_stream(source, options or StreamOptions()) as opened:
        n_layers = opened.engine.model.n_layers
        if layer is not None and not 0 <= layer < n_layers:
            raise ConfigError(f"--layer is {layer}; the model has layers 0 to {n_layers - 1}")
        recorder = MapRecorder(opened)
        frames = recorder.watch(with_progress(opened.video))
        marks = [
            Mark(answer.time_seconds)
            for _, answer in answer_in_time(opened.session, frames, questions, batch_frames=opened.session.chunk_frames)
        ]
        report_damage(opened.video)
        recorder.draw_memory(out / "memory.png", marks)
        recorder.draw_patches(out / "patches.png", n_layers - 1 if layer is None else layer)


class MapRecorder:
    """Keeps a few frames, evenly spaced however long the stream is, and draws its memory at the end."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._frames: dict[int, Frame] = {}
        self._stride = 1

    def watch(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Pass frames on, remembering between 18 and 36 of them: every n-th, n doubling when there are too many."""
        for index, frame in enumerate(frames):
            if index % self._stride == 0:
                self._frames[index] = frame
            if len(self._frames) > 2 * _N_PICTURES:
                self._stride *= 2
                self._frames = {number: kept for number, kept in self._frames.items() if number % self._stride == 0}
            yield frame

    def draw_memory(self, path: Path, marks: list[Mark]) -> None:
        """Layers against time, frames above it."""
        from hermes_stream.viz.memory_map import draw_memory_map

        session, model = self._opened.session, self._opened.engine.model
        version = session.memory
        draw_memory_map(
            version,
            path,
            tokens_per_frame=model.tokens_per_frame,
            groups=session.policy.layer_groups(len(version.layers)),
            title=f"What {session.policy.name} still holds after {version.time_seconds:.0f} s",
            marks=marks,
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

    def _chosen(self) -> dict[int, Frame]:
        """At most 18 of the frames, evenly."""
        step = max(math.ceil(len(self._frames) / _N_PICTURES), 1)
        return dict(list(self._frames.items())[::step])
