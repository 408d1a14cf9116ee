"""One stream, as its user sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from hermes_stream.engine.answer import AnswerStream
from hermes_stream.engine.commentary.narration import Narration
from hermes_stream.engine.commentary.state import CommentarySettings
from hermes_stream.engine.forgetting import Forgotten
from hermes_stream.engine.live import LiveQueue
from hermes_stream.engine.question_attention import QuestionAttention, question_attention
from hermes_stream.engine.scoring import YES_NO, PendingScores, check_choices
from hermes_stream.engine.snapshot import take_snapshot
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.types import AsOf, Frame, Gap, Query, Turn

if TYPE_CHECKING:
    from hermes_stream.engine.engine import Engine
    from hermes_stream.engine.stream import Stream
    from hermes_stream.memory.version import MemoryVersion
    from hermes_stream.policies.base import Policy

# Of frames that are offered: one that is encoded next, and one that comes meanwhile.
_INTERVALS_WAITING = 2


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Where a stream stands. held_tokens: per layer, prefix apart. peak_tokens: most that a layer ever held.

    memory_bytes: of held rows and features, and of tensors that the policy keeps; archive_bytes, disk_bytes: of
    archived keys and values in host memory and on disk.
    last_compression_seconds: of the newest frame when the policy last evicted; None if it never did.
    frames_dropped: frames that were given and never came into the memory: offered ones that waited too long, and those
    for which memory ran out. waiting_frames: offered and still on their way. lag_seconds: from the newest frame in the
    memory to the newest one offered, gaps apart. gaps: times in which nothing was seen.
    as_of: how well the moment is known that a session of `Session.as_of` shows; None for all others.
    """

    frames_seen: int
    tokens_seen: int
    time_seconds: float
    held_tokens: tuple[int, ...]
    memory_bytes: int
    peak_tokens: int
    n_compressions: int
    next_position: int
    last_compression_seconds: float | None = None
    archive_bytes: int = 0
    disk_bytes: int = 0
    frames_dropped: int = 0
    waiting_frames: int = 0
    lag_seconds: float = 0.0
    gaps: tuple[Gap, ...] = ()
    as_of: AsOf | None = None


class Session:
    """Watch frames, ask questions, fork. Safe to use from several threads; made by `Engine.open`."""

    def __init__(self, engine: Engine, stream: Stream, *, max_waiting_frames: int | None = None) -> None:
        self._engine = engine
        self.stream = stream
        self._live = LiveQueue(
            _INTERVALS_WAITING * stream.chunk_frames if max_waiting_frames is None else max_waiting_frames
        )
        self._is_closed = False

    def watch(self, frames: Frame | Iterable[Frame]) -> None:
        """Put frames into the memory; returns once they are in.

        An iterable is read one interval at a time, so a whole video may be given, and one interval ahead of what is in.
        Raises UsageError if a frame is older than one that was watched before; the intervals before it are in then.
        """
        waiting = iter([frames] if isinstance(frames, Frame) else frames)
        newest: Future[None] | None = None
        try:
            while batch := list(islice(waiting, self.chunk_frames)):
                before, newest = newest, self._engine.submit_watch(self, batch, after=newest)
                if before is not None:
                    before.result()
        finally:
            if newest is not None:
                newest.result()

    def offer(self, frames: Frame | Iterable[Frame]) -> int:
        """Give frames of a live source and go on at once; returns how many of them were taken.

        At most `max_waiting_frames` wait to be encoded. Where the engine cannot keep up the oldest of these are dropped
        and counted (`stats.frames_dropped`); a question sees all that are in. Raises UsageError if times fall, and
        whatever went wrong with frames that were offered before, once.
        """
        return self._engine.submit_offer(self, self._live, [frames] if isinstance(frames, Frame) else list(frames))

    def on_arrival(self, tell: Callable[[Sequence[Frame]], None] | None) -> None:
        """Have somebody told of frames as soon as they are in; None ends it.

        It is told on the engine's thread, which waits for it: it must return at once and never raise.
        """
        self.stream.on_arrival = tell

    def mark_gap(self, start_seconds: float, end_seconds: float, reason: str) -> None:
        """State that nothing was seen in `[start_seconds, end_seconds)`: a camera was away, a server was down.

        Frames that are given from now on must not be older than its end. However long it is, the stream goes on, and
        no grid of two frames reaches over it. Raises UsageError if it begins before a frame that was given.
        """
        gap = Gap(start_seconds, end_seconds, reason)
        self._engine.call(self, lambda: self.stream.mark_gap(gap, self._live.newest_seconds))

    def forget(self, start_seconds: float, end_seconds: float) -> Forgotten:
        """Remove everything that is held of frames shown in `[start_seconds, end_seconds)`, and all remembered turns.

        The report says what was removed and, in words, what cannot be. The stream goes on, and can be asked.
        Forks, snapshots and files that were made before are not changed: forget there too, or delete them.
        """
        return self._engine.forget_times(self, self._live, start_seconds, end_seconds)

    def ask(self, query: str | Query, *, remember: bool = False, max_new_tokens: int | None = None) -> AnswerStream:
        """Ask about everything watched so far; asking never changes the memory.

        Returns at once; iterate over the tokens, or call `result()` for the whole answer; in an event loop `async for`
        and `await aresult()` do the same. remember: let the question and its answer guide what is kept from now on
        (HERMES' history).
        """
        if isinstance(query, str):
            query = Query(query)
        if max_new_tokens is not None:
            query = replace(query, max_new_tokens=max_new_tokens)
        stream = AnswerStream(query)
        self._engine.submit_ask(self, stream, remember=remember)
        return stream

    def remember(self, turn: Turn) -> None:
        """Let a question that was answered elsewhere guide what is kept from now on, as `ask(remember=True)` does."""

        def remember() -> None:
            self.stream.history = (turn,)

        self._engine.call(self, remember)

    def narrate(
        self,
        instruction: str | None = None,
        *,
        previous: str = "",
        step_seconds: float = 1.0,
        tokens_per_second: float = 20.0,
        temperature: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> Narration:
        """Comment on a stream from its first frame on, step by step; the words become part of the memory.

        instruction: what is wanted; by default the checkpoint's own, and "" for none. previous: words of before.
        tokens_per_second: the most that is said. In a session that is narrated already (restored, or a fork) it goes
        on, with the settings that it has: give none.
        Raises UsageError if frames were watched before, or for settings that cannot be; PolicyError for a memory that
        holds frames back from the text model.
        """
        commentary = self.stream.commentary
        if commentary is None or instruction is not None:
            text = self._engine.commentary.default_instruction if instruction is None else instruction
            settings = CommentarySettings(
                text, previous, step_seconds, tokens_per_second, temperature, repetition_penalty, seed
            )
            self._engine.begin_commentary(self, settings)
        else:
            settings = commentary.settings
        return Narration(self._engine, self, settings)

    def score(self, query: str | Query, choices: Sequence[str] | None = None) -> PendingScores:
        """How probable the model finds each of these answers to a question about everything watched so far.

        Returns at once. One forward of the question, in which the first token of its answer is looked at: nothing is
        decoded or changed, so settings of sampling do not matter. choices: by default the letters of the question's
        options, or yes and no. Raises UsageError for fewer than two; where two of them begin with the same token, the
        result does.
        """
        asked = Query(query) if isinstance(query, str) else query
        checked = check_choices((asked.letters or YES_NO) if choices is None else choices)
        scores = PendingScores(asked)
        self._engine.submit_score(self, scores, checked)
        return scores

    def attention(self, query: str | Query) -> QuestionAttention:
        """What a question pays to each token held now, in every layer and head; nothing is answered or changed."""
        asked = Query(query) if isinstance(query, str) else query
        return self._engine.call(self, lambda: question_attention(self.stream, asked))

    def fork(self) -> Session:
        """A second session with the same past and a future of its own; rows are shared until one of them writes."""
        return self._engine.fork(self)

    def as_of(self, time_seconds: float) -> Session:
        """A session to be asked what was known at a time: a fork of which nothing that was shown later is left.

        It takes no frames. `stats.as_of` says how well that moment is still known; with keep-all, and wherever nothing
        but frames came since, answers are those that would have been given then.
        """
        return self._engine.as_of(self, time_seconds)

    def snapshot(self) -> Snapshot:
        """Everything watched so far, to be saved to a file and restored later; see `Engine.restore`.

        Costs nothing before it is saved: the rows are shared, as with a fork.
        """
        return self._engine.call(self, lambda: take_snapshot(self.stream))

    @property
    def memory(self) -> MemoryVersion:
        """The current version: immutable, valid as long as it is held."""
        return self.stream.memory.current

    @property
    def policy(self) -> Policy:
        return self.stream.policy

    @property
    def chunk_frames(self) -> int:
        """Frames between two compressions."""
        return self.stream.chunk_frames

    @property
    def max_waiting_frames(self) -> int:
        """How many of the frames that were offered may wait to be encoded."""
        return self._live.capacity

    @property
    def stats(self) -> SessionStats:
        # Frames on their way are counted before the memory is looked at: one that arrives meanwhile is not missed.
        n_waiting, version = self._live.n_waiting, self.memory
        n_frames = version.frames_seen + len(self.stream.waiting)
        newest_seconds, gaps = self.stream.newest_seconds, self.stream.gaps
        return SessionStats(
            frames_seen=n_frames,
            tokens_seen=version.n_seen,
            time_seconds=0.0 if newest_seconds is None else newest_seconds,
            held_tokens=version.held_tokens,
            memory_bytes=version.n_bytes + self.stream.state_bytes,
            archive_bytes=version.archive_bytes(),
            disk_bytes=version.archive_bytes(disk=True),
            peak_tokens=self.stream.memory.peak_tokens,
            n_compressions=self.stream.n_compressions,
            next_position=version.next_position,
            last_compression_seconds=self.stream.last_compression_seconds,
            frames_dropped=self._live.n_dropped + self.stream.frames_dropped,
            waiting_frames=n_waiting,
            lag_seconds=self._live.lag_seconds(newest_seconds, gaps),
            gaps=gaps,
            as_of=self.stream.as_of,
        )

    def check_invariants(self) -> None:
        """Raise InvariantError if the memory breaks one of its laws; can run in production."""
        self._engine.call(self, self.stream.memory.check_invariants)

    def close(self) -> None:
        """Give the memory back; unfinished answers end with SessionClosed."""
        self._is_closed = True
        self._engine.forget(self)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
