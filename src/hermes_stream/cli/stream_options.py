"""Options that every command with a model and a video takes, and what they open."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from hermes_stream.cli.model_options import EngineOptions
from hermes_stream.cli.output import say, settings_line
from hermes_stream.cli.profiling import check_can_trace, profiling
from hermes_stream.defaults import DEFAULT_MEMORY, NARRATING_MEMORY, NARRATING_MODEL
from hermes_stream.errors import ConfigError
from hermes_stream.memory.budget import parse_bytes

if TYPE_CHECKING:
    from hermes_stream.engine.engine import Engine
    from hermes_stream.engine.session import Session
    from hermes_stream.video import Video


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StreamOptions(EngineOptions):
    """Memory and sampling, beside the model.

    Parameters
    ----------
    memory
        A policy with options, as in "hermes(reindex=eager)"; see hermes-stream policies.
    budget
        Tokens per layer, or bytes over all layers as in 16MiB. Default: the model's.
    memory_bits
        Of held keys and values: 16, the model's own precision, or 8, for three times the rows in as many bytes.
        Default: what the policy says, 16 if nothing.
    layers
        Which layers hermes takes for shallow, middle and deep: shares as in 10/60/30, measured (by hermes-stream
        inspect; some models bring it), or the path of an inspection.json.
    fps
        Frames per second to look at. Default: the model's.
    chunk
        Frames between two compressions. Default: the model's.
    profile
        File for a trace of what runs when, as Chrome and Perfetto show it (.gz: compressed); for minutes, not hours.
    """

    memory: str = DEFAULT_MEMORY
    budget: str | None = None
    memory_bits: Literal[16, 8] | None = None
    layers: str | None = None
    fps: float | None = None
    chunk: int | None = None
    profile: Path | None = None

    def check(self) -> None:
        """Raise UsageError for what is wrong whatever the model and the video are."""
        from hermes_stream.policies.layers import parse_layers
        from hermes_stream.policies.spec import parse_memory

        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"--fps is {self.fps}; give a number above 0")
        if self.chunk is not None and self.chunk < 1:
            raise ConfigError(f"--chunk is {self.chunk}; an interval needs at least 1 frame")
        check_can_trace(self.profile)
        if self.device == "meta":
            raise ConfigError("--device meta holds no numbers to answer with; it is for hermes-stream doctor")
        if self.memory_limit is not None:
            parse_bytes(self.memory_limit, "--memory-limit")
        policy = parse_memory(self.memory, self.budget, bytes_per_token=1)
        if self.memory_bits is not None:
            policy = policy.with_memory_bits(self.memory_bits)
        if self.layers is not None:
            parse_layers(self.layers)
            policy.with_layers((0, 0))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NarrateOptions(StreamOptions):
    """The model and the memory that suit a commentary."""

    model: str = NARRATING_MODEL
    memory: str = NARRATING_MEMORY


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
    """Model, stream and video, checked in the order in which mistakes are cheap; closes all of them.

    What is wrong with the options, the model or their combination is said before the video is opened; that a file is
    missing, before the model is loaded.
    """
    from hermes_stream.video import Video, check_source, open_source

    options.check()
    check_source(source)
    with ExitStack() as stack:
        engine = stack.enter_context(options.load_model())
        session = stack.enter_context(
            engine.open(
                options.memory,
                budget=options.budget,
                chunk=options.chunk,
                layers=options.layers,
                memory_bits=options.memory_bits,
            )
        )
        fps = engine.defaults.fps if options.fps is None else options.fps
        video = stack.enter_context(Video(stack.enter_context(open_source(source)), fps=fps))
        say(settings_line(engine, session, fps))
        stack.enter_context(profiling(options.profile))
        yield Opened(engine, session, video, fps)
