"""What the engine's thread is asked to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hermes_stream.engine.answer import AnswerTask
from hermes_stream.engine.batch import Segment
from hermes_stream.engine.commentary.speaking import SpeakTask
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.live import LiveQueue
from hermes_stream.engine.pending import Channel
from hermes_stream.engine.question import Task
from hermes_stream.engine.scoring import ScoreTask
from hermes_stream.engine.stream import Stream
from hermes_stream.models.adapter import Clip
from hermes_stream.types import Frame, Query, VisualTokens


class Work(Protocol):
    """What goes into a forward for one stream and changes its memory after it.

    n_frames, n_grids: of the job's that are in then.
    """

    n_frames: int
    n_grids: int

    def segments(self) -> list[Segment]: ...

    def give_up(self) -> None:
        """Its forward has failed."""
        ...

    def finish(self) -> None:
        """After the forward. What fails leaves no trace."""
        ...


@dataclass(eq=False)
class WatchJob:
    """Frames on their way into one stream; the future resolves when the last one is in.

    live: where more of them wait, which are taken as they are needed. after: what fails there fails here too.
    encoded: what the vision tower made of the first of them (and of those that wait in the stream), in whole grids.
    most_grids: how many go through it at once, where it had no room for more.
    """

    stream: Stream
    frames: deque[Frame]
    done: Future[None]
    live: LiveQueue | None = None
    after: Future[None] | None = None
    encoded: VisualTokens | None = None
    most_grids: int | None = None

    def next_clip(self) -> Clip | None:
        """What the vision tower can encode next; None if frames are too few for a grid."""
        if self.live is not None:
            self.frames.extend(self.live.take(self.stream.chunk_frames - len(self.frames)))
        return self.stream.next_clip(self.frames, self.most_grids)

    def frames_together(self, clip: Clip) -> int:  # noqa: ARG002
        """How many frames of a clip must not be parted."""
        return self.stream.adapter.facts.frames_per_grid

    @property
    def encodes_one_grid(self) -> bool:
        """Whether no less can go through the vision tower at once."""
        clip = self.next_clip()
        return clip is None or len(clip.frames) <= self.stream.adapter.facts.frames_per_grid

    def encode_half(self) -> None:
        """Half as many grids go through the vision tower at once, until some have come out."""
        clip = self.next_clip()
        n_frames = 0 if clip is None else len(clip.frames)
        self.most_grids = max(n_frames // self.stream.adapter.facts.frames_per_grid // 2, 1)

    @property
    def frames_of_grid(self) -> int:
        """How many of its frames are in its next grid."""
        clip = self.stream.next_clip(self.frames, 1)
        return len(self.frames) if clip is None else clip.n_frames - len(self.stream.waiting)

    @property
    def lacks_partner(self) -> bool:
        """Whether its frames are too few for a grid: they go and wait in the stream."""
        return self.encoded is None and self.next_clip() is None

    def grid_rows(self) -> list[int]:
        """Rows of each grid that may go into the next forward."""
        return [] if self.encoded is None else self.encoded.rows_of_grids()[: self.stream.grids_at_once]

    def piece(self, n_grids: int) -> Work:
        """The first encoded grids, or, with none, frames that lack a partner."""
        encoded = None if self.encoded is None else self.encoded.grids(0, n_grids)
        return Piece(self.stream, list(self.frames), encoded)

    def without(self, start_seconds: float, end_seconds: float) -> WatchJob:
        """The same job without the frames of some time, and without what was encoded."""
        stay = [frame for frame in self.frames if not start_seconds <= frame.pts_seconds < end_seconds]
        if self.live is not None:
            self.live.lose(len(self.frames) - len(stay))
        return replace(self, frames=deque(stay), encoded=None)

    def is_over(self) -> bool:
        """Whether no frames are left; if so, nobody takes offered ones until somebody begins to again."""
        return not self.frames and (self.live is None or self.live.is_empty())

    def arrive(self, n_frames: int, n_grids: int) -> bool:
        """So many are in; returns whether these were the last."""
        for _ in range(n_frames):
            self.frames.popleft()
        self.most_grids = None
        if self.encoded is not None:
            is_rest = n_grids < self.encoded.n_grids
            self.encoded = self.encoded.grids(n_grids, self.encoded.n_grids) if is_rest else None
        if self.live is not None:
            self.live.arrive(n_frames)
        return self.is_over()


@dataclass(eq=False)
class AskJob:
    """A question; once started, `task` holds its progress.

    choices: answers to be scored, where none is to be given. speaks: whether it is no question but a round's words.
    """

    stream: Stream
    query: Query
    channel: Channel[Any, Any]
    remember: bool = False
    choices: tuple[str, ...] = ()
    speaks: bool = False
    task: Task | None = None

    def begin(self) -> Task:
        """Pin what the stream has seen by now. Raises LimitError or UsageError for what cannot be asked."""
        if self.speaks:
            self.task = SpeakTask(self.stream, self.query, self.channel)
        elif self.choices:
            self.task = ScoreTask(self.stream, self.query, self.choices, self.channel)
        else:
            self.task = AnswerTask(self.stream, self.query, self.channel)
        return self.task

    @property
    def n_rows(self) -> int:
        """Of its next segment."""
        return self.begun.segment().n_rows

    @property
    def begun(self) -> Task:
        assert self.task is not None
        return self.task


@dataclass(eq=False)
class CallJob:
    """Something to run between two forwards."""

    function: Callable[[], Any]
    done: Future[Any]

    def resolve(self) -> None:
        try:
            self.done.set_result(self.function())
        except BaseException as error:  # it is the caller's to handle: this thread must live on
            self.done.set_exception(error)


Job = WatchJob | AskJob | CallJob
