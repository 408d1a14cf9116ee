"""`hermes-stream inspect`: what questions look at in a first-in-first-out memory, layer by layer."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hermes_stream.cli.model_options import EngineOptions
from hermes_stream.cli.output import progress_bar, say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.inspection.measure import Inspection, Settings

_N_QUESTIONS = 8


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class InspectOptions(EngineOptions):
    """What to watch, and what to ask.

    Parameters
    ----------
    budget
        The window: tokens per layer, or bytes over all layers as in 16MiB. Default: the model's.
    chunk
        Frames between two evictions. Default: the model's.
    fps
        Frames per second to look at. Default: the model's.
    seconds
        Length of ShapeStream episodes.
    question
        Asked of every source; may be repeated. Default: questions of the episode, or a few about any video.
    questions
        How many questions each source is asked at most, where none is given.
    shuffle_frames
        The control: the pictures of a source in random order. Holds a source's frames in memory.
    """

    budget: str | None = None
    chunk: int | None = None
    fps: float | None = None
    seconds: float = 75
    question: Annotated[list[str] | None, Parameter(negative="")] = None
    questions: int | None = None
    shuffle_frames: Annotated[bool, Parameter(negative="")] = False


def inspect(
    source: str,
    /,
    *more: str,
    out: Path,
    layer: Annotated[list[int] | None, Parameter(negative="")] = None,
    options: Annotated[InspectOptions | None, Parameter(name="*")] = None,
) -> None:
    """Draw and measure which tokens questions attend to in each layer, and where layers change their way.

    Each source is watched to its end through a window of the newest frames, and asked there.

    Parameters
    ----------
    source
        A video file, shapestream:SEED or shapestream:FIRST-LAST; several may be given.
    out
        Folder for inspection.json and the figures, as PNG and SVG.
    layer
        A layer whose attention gets a panel of its own; may be repeated. Default: the paper's three, scaled.
    """
    from hermes_stream.inspection.clips import open_clips
    from hermes_stream.inspection.measure import inspect_clips
    from hermes_stream.inspection.report import report, to_json

    options = options or InspectOptions()
    settings = _settings(options)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out is {out}, which is a file; give a folder")
    clips = open_clips([source, *more], episode_seconds=options.seconds)
    with options.load_model() as engine:
        layers = _layers(layer, engine.model.n_layers)
        with progress_bar() as progress:
            task = progress.add_task("inspecting", total=None, note="")
            inspection = inspect_clips(
                engine, clips, settings, lambda clip, n: progress.update(task, note=f"{clip}, {n} questions")
            )
        content = report(inspection, model=engine.model.name, command=_command([source, *more], options))
    for watched in inspection.watched:
        if watched.damage:
            say(f"warning: {watched.name}: {watched.damage}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "inspection.json").write_text(to_json(content), encoding="utf-8")
    _print(content)
    say(
        f"{out / 'inspection.json'}: all numbers; --memory hermes --layers {out / 'inspection.json'} uses the partition"
    )
    _draw(inspection, layers, out)


def _settings(options: InspectOptions) -> Settings:
    """Raises ConfigError or UsageError for values that cannot be, before anything is opened."""
    from hermes_stream.inspection.measure import Settings
    from hermes_stream.memory.budget import parse_budget
    from hermes_stream.types import Query

    for name, value in (("fps", options.fps), ("seconds", options.seconds)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"--{name} is {value:g}; give a number above 0")
    if options.questions is not None and options.questions < 1:
        raise ConfigError(f"--questions is {options.questions}; ask at least 1")
    if options.questions is not None and options.question:
        raise ConfigError("both --question and --questions; give the questions, or how many to make")
    if options.budget is not None:
        parse_budget(options.budget)
    return Settings(
        budget=options.budget,
        chunk=options.chunk,
        fps=options.fps,
        questions=tuple(Query(text).text for text in options.question or ()),
        n_questions=options.questions or _N_QUESTIONS,
        shuffle=options.shuffle_frames,
    )


def _layers(given: Sequence[int] | None, n_layers: int) -> Sequence[int]:
    from hermes_stream.inspection.report import paper_layers

    wrong = [layer for layer in given or () if not 0 <= layer < n_layers]
    if wrong:
        raise ConfigError(f"--layer is {wrong[0]}; the model has layers 0 to {n_layers - 1}")
    return given or paper_layers(n_layers)


def _command(sources: Sequence[str], options: InspectOptions) -> str:
    """What gives the same numbers again."""
    parts = ["hermes-stream", "inspect", *sources]
    defaults = InspectOptions()
    for name, value in vars(options).items():
        if value == getattr(defaults, name) and name != "model":
            continue
        flag = "--" + name.replace("_", "-")
        if value is True:
            parts.append(flag)
        elif isinstance(value, list):
            parts += [part for item in value for part in (flag, item)]
        else:
            parts += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(parts)


def _print(content: dict[str, Any]) -> None:
    from hermes_stream.inspection.report import table

    for row in table(content):
        print("  ".join(text.rjust(8 if index < 2 else 13) for index, text in enumerate(row)))
    partition, accepted = content["partition"], content["acceptance"]["per_clip"]
    agreement = partition["measured_agreement"]
    first_middle, first_deep = partition["measured"]
    print(
        f"measured partition: middle from layer {first_middle}, deep from layer {first_deep}; "
        f"explains {partition['measured_explains']:.0%} of the variance between layers "
        f"(10/60/30: {partition['paper_explains']:.0%})"
        + ("" if agreement is None else f"; the same without any one source: {agreement:.0%}")
    )
    says = {True: "yes", False: "no"}
    print(
        f"from the first to the last layer: newest 10 % falls: {says[accepted['newest_share_falls']]}; "
        f"lag-P correlation rises: {says[accepted['autocorrelation_rises']]}; "
        f"periodicity rises: {says[accepted['periodicity_rises']]}"
    )


def _draw(inspection: Inspection, layers: Sequence[int], out: Path) -> None:
    try:
        from hermes_stream.viz.attention_figures import draw_attention, draw_heads, draw_layers

        written = {
            "attention over the cache": draw_attention(inspection, layers, out / "attention"),
            "all layers": draw_layers(inspection, out / "layers"),
            "all heads": draw_heads(inspection, out / "heads"),
        }
    except ConfigError as error:
        say(f"no figures: {error}")
        return
    for what, (png, svg) in written.items():
        say(f"{png}, {svg.name}: {what}")
