"""`hermes-stream map`: what a memory still holds at the end of a video, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hermes_stream.cli.ask import parse_question, report_damage, with_progress
from hermes_stream.cli.map_recorder import MapRecorder, check_can_draw
from hermes_stream.cli.stream_options import Options, StreamOptions, open_stream
from hermes_stream.errors import ConfigError


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

    questions = [parse_question(text) for text in question or []]
    check_can_draw(out)
    with open_stream(source, options or StreamOptions()) as opened:
        session, n_layers = opened.session, opened.engine.model.n_layers
        if layer is not None and not 0 <= layer < n_layers:
            raise ConfigError(f"--layer is {layer}; the model has layers 0 to {n_layers - 1}")
        recorder = MapRecorder(opened)
        frames = recorder.watch(with_progress(opened.video))
        for _, answer in answer_in_time(session, frames, questions, batch_frames=session.chunk_frames):
            recorder.asked_at(answer.time_seconds)
        report_damage(opened.video)
        recorder.draw(out, layer)
