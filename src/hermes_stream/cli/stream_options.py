"""Options that every command with a model and a video takes, and what they open."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.output import say, settings_line
from hermes_stream.defaults import DEFAULT_MEMORY, DEFAULT_MODEL
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.engine.engine import Engine
    from hermes_stream.engine.session import Session
    from hermes_stream.video import Video


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """Model, memory and sampling.

    Parameters
    ----------
    model
        A bundled model, a checkpoint folder, a hub id, or random:SHAPE; see hermes-stream models.
    memory
        A policy with options, as in "hermes(reindex=eager)"; see hermes-stream policies.
    budget
        Tokens per layer, or bytes over all layers as in 16MiB. Default: the model's.
    layers
        Which layers hermes takes for shallow, middle and deep: shares as in 10/60/30, measured (by hermes-stream
        inspect; some models bring it), or the path of an inspection.json.
    fps
        Frames per second to look at. Default: the model's.
    chunk
        Frames between two compressions. Default: the model's.
    dtype
        float32, bfloat16, float16 or float64.
    max_pixels
        Pixels of a frame after resizing, for families that keep a picture's shape.
    """

    model: str = DEFAULT_MODEL
    memory: str = DEFAULT_MEMORY
    budget: str | None = None
    layers: str | None = None
    fps: float | None = None
    chunk: int | None = None
    dtype: str | None = None
    max_pixels: int | None = None


Options = Annotated[StreamOptions | None, Parameter(name="*")]


@dataclass(frozen=True)
class Opened:
    """A model that watches a video. fps: the sampling rate in force."""

    engine: Engine
    session: Session
    video: Video
    fps: float


@contextmanager
def open_stream(source: str, options: StreamOptions) -> Iterator[Opened]:
    """Video, model and stream, checked in the order in which mistakes are cheap; closes all of them."""
    from hermes_stream.engine.engine import load_model
    from hermes_stream.policies.layers import parse_layers
    from hermes_stream.policies.spec import parse_memory
    from hermes_stream.video import Video, open_source

    if options.fps is not None and not (math.isfinite(options.fps) and options.fps > 0):
        raise ConfigError(f"--fps is {options.fps}; give a number above 0")
    policy = parse_memory(options.memory, options.budget, bytes_per_token=1)
    if options.layers is not None:
        parse_layers(options.layers)
        policy.with_layers((0, 0))
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source))
        model = load_model(options.model, dtype=options.dtype, max_pixels=options.max_pixels)
        engine = stack.enter_context(model)
        session = stack.enter_context(
            engine.open(options.memory, budget=options.budget, chunk=options.chunk, layers=options.layers)
        )
        fps = engine.defaults.fps if options.fps is None else options.fps
        video = stack.enter_context(Video(opened, fps=fps))
        say(settings_line(engine, session, fps))
        yield Opened(engine, session, video, fps)
