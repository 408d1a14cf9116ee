"""Frames per second from a real file into a full memory, and which stage takes how much of the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, cast

from hermes_stream.bench.encoding import BenchAdapter
from hermes_stream.bench.full import fill
from hermes_stream.bench.pictures import pictures
from hermes_stream.bench.stage_times import StageTimes, clock_of
from hermes_stream.bench.timing import timed
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.probe_text import probe_embeddings
from hermes_stream.engine.stream import Stream
from hermes_stream.models.adapter import Adapter
from hermes_stream.shapestream import EVALUATION_SEEDS, make_script, write_episode
from hermes_stream.stages import DECODE, EVICT, PLACE, PROBE, SCORE, TEXT, VISION, listening
from hermes_stream.types import Frame
from hermes_stream.video.open import open_video

# What a policy adds to the encoding of frames.
ADDED = PROBE, SCORE, EVICT, PLACE
ENGINE = VISION, TEXT, *ADDED
OTHER = "other"
# Of the file that is read over and over: as much as a camera gives.
_FILE_FPS = 24
_FILE_SECONDS = 8
# That fill a memory, encoded once.
_N_PICTURES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRow:
    """One memory, from when it was full. share: of the time, by stage.

    The text model's time with a probe in its forward counts for the probe in proportion to its tokens, and so does what
    the probe attends with. tokens: that the text model reads. other: no stage.
    A file is decoded ahead in a thread of its own, and on an accelerator the vision tower runs beside the text model:
    shares may add up to more than 1. policy_share: probe, scoring, eviction and re-placement together.
    """

    policy: str
    frames: int
    chunk: int
    budget: int | None
    held_tokens: int
    tokens_per_frame: float
    frames_per_second: float
    tokens_per_second: float
    share: dict[str, float]
    policy_share: float
    compressions: int
    seconds: float

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


def measure_ingest(
    adapter: Adapter, memory: str, video: Path, *, budget: str | None, chunk: int, n_frames: int
) -> IngestRow:
    """Fill a memory; then watch this file over and over, one frame a second, for `n_frames` that are timed.

    n_frames: whole intervals. Raises PolicyError or ConfigError for a memory that cannot work with the model.
    """
    known = pictures(_N_PICTURES)
    with (
        Engine(cast(Adapter, BenchAdapter(adapter, known))) as engine,
        engine.open(memory, budget=budget, chunk=chunk) as session,
    ):
        fill(engine, session, known)
        frames = _over_and_over(video, session.stats.frames_seen)
        # The tower has seen no interval as a whole yet.
        session.watch(islice(frames, chunk))
        before, times = session.stats, StageTimes(clock_of(engine.model.device))
        with listening(times):
            _, seconds = timed(lambda: session.watch(islice(frames, n_frames)), engine.model.device)
        after = session.stats
        n_probe_tokens = engine.call(session, lambda: _probe_tokens(session.stream))
    n_tokens = after.tokens_seen - before.tokens_seen
    n_intervals = n_frames // session.chunk_frames
    spent = _with_probe_rows(times.seconds(), n_tokens, n_probe_tokens * n_intervals)
    share = {name: round(spent.get(name, 0.0) / seconds, 5) for name in (DECODE, *ENGINE)}
    rest = 1 - sum(share[name] for name in ENGINE)
    return IngestRow(
        policy=memory,
        frames=n_frames,
        chunk=session.chunk_frames,
        budget=session.policy.budget_tokens,
        held_tokens=max(after.held_tokens),
        tokens_per_frame=n_tokens / n_frames,
        frames_per_second=round(n_frames / seconds, 3),
        tokens_per_second=round(n_tokens / seconds, 1),
        share={**share, OTHER: round(max(0.0, rest), 5)},
        policy_share=round(sum(share[name] for name in ADDED), 5),
        compressions=after.n_compressions - before.n_compressions,
        seconds=round(seconds, 3),
    )


def write_clip(folder: Path) -> Path:
    """A file as a camera would give it: H.264, 24 frames a second, 640 x 360."""
    path = folder / "clip.mp4"
    write_episode(make_script(EVALUATION_SEEDS.start, _FILE_SECONDS), path, fps=_FILE_FPS)
    return path


def _over_and_over(video: Path, start_seconds: int) -> Iterator[Frame]:
    """One frame a second of a file, again from its beginning whenever it ends."""
    for start in count(start_seconds, _FILE_SECONDS):
        with open_video(video, fps=1) as opened:
            for frame in opened:
                yield Frame(start + frame.pts_seconds, frame.image_YXC)


def _probe_tokens(stream: Stream) -> int:
    """Tokens that ride in the forward which ends an interval of a full memory."""
    n_new = stream.chunk_frames // stream.adapter.facts.frames_per_grid * stream.adapter.facts.tokens_per_frame
    n_rows = tuple(n + n_new for n in stream.memory.current.held_tokens)
    probes = stream.policy.probes(n_rows, stream.history, stream.facts)
    return sum(probe_embeddings(stream.adapter, probe).shape[0] for probe in probes if probe.queries == "true")


def _with_probe_rows(seconds: dict[str, float], n_frame_tokens: int, n_probe_tokens: int) -> dict[str, float]:
    """Linear layers treat all rows of a forward alike: the probe's part of them is that of its rows."""
    rows = seconds.get(TEXT, 0.0) * n_probe_tokens / max(n_frame_tokens + n_probe_tokens, 1)
    moved = {TEXT: seconds.get(TEXT, 0.0) - rows, PROBE: seconds.get(PROBE, 0.0) + rows}
    return {**seconds, **moved}
