"""A loaded model and the streams that it watches."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from hermes_stream.defaults import DEFAULT_MEMORY, DEFAULT_MODEL
from hermes_stream.engine.admission import Ledger
from hermes_stream.engine.answer import AnswerStream
from hermes_stream.engine.as_of import as_of
from hermes_stream.engine.commentary.ingest import RoundJob
from hermes_stream.engine.commentary.opening import begin_commentary
from hermes_stream.engine.commentary.state import CommentarySettings
from hermes_stream.engine.forgetting import Forgotten, check_times, forget_times
from hermes_stream.engine.gaps import check_behind
from hermes_stream.engine.graphs.static_forwards import Capture
from hermes_stream.engine.jobs import AskJob, CallJob, WatchJob
from hermes_stream.engine.live import LiveQueue
from hermes_stream.engine.opening import commit_prefix, memory_shape, open_stream
from hermes_stream.engine.parallel.launch import load_shared
from hermes_stream.engine.pending import Channel
from hermes_stream.engine.schedule import Limits
from hermes_stream.engine.scoring import PendingScores
from hermes_stream.engine.session import Session
from hermes_stream.engine.snapshot import restore_stream
from hermes_stream.engine.stream import Stream
from hermes_stream.engine.warm_up import WarmUp, warm_up
from hermes_stream.engine.worker import Worker
from hermes_stream.errors import ConfigError, SessionClosed, SessionError, UsageError
from hermes_stream.memory.budget import parse_budget
from hermes_stream.memory.shape import MemoryBits
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.models.adapter import Adapter, ModelFacts, StreamDefaults
from hermes_stream.models.commentary import CommentaryPrompts
from hermes_stream.models.placement import DeviceMap
from hermes_stream.policies.base import Policy
from hermes_stream.policies.layers import parse_layers
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Frame

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EngineStats:
    """used_bytes: promised, weights and one forward included. limit_bytes: None where nobody could say one.

    n_answers, waiting_frames: questions without a complete answer and frames that are not in yet, of all sessions.
    captures: of each forward that `warm_up` recorded or could not, the newest try.
    """

    n_sessions: int
    used_bytes: int
    limit_bytes: int | None
    n_answers: int
    waiting_frames: int
    captures: tuple[Capture, ...] = ()


class Engine:
    """One model on one thread, for any number of sessions. Use as a context manager, or `close()` it.

    Sessions share the weights and each forward; each has a memory of its own.
    """

    def __init__(
        self, adapter: Adapter, *, memory_limit: int | str | None = None, max_forward_tokens: int | None = None
    ) -> None:
        """memory_limit: of weights and all sessions together, as in "12GiB"; by default a share of what is free.
        max_forward_tokens: a forward takes on frames until it has so many rows; by default what suits the device. With
            fewer, questions and decode steps wait for less; with more, each row costs less.

        Raises ConfigError if the model alone takes more than the memory limit, or a forward could not have a row.
        """
        limits = Limits.of(adapter.facts.device.type, max_forward_tokens)
        self._adapter = adapter
        self._ledger = Ledger(adapter, limits.n_rows + adapter.facts.tokens_per_frame, memory_limit)
        self._worker = Worker(adapter, self._ledger, limits)
        # Also runs at interpreter exit, while the thread can still end in order.
        self._finalizer = weakref.finalize(self, _end, self._worker, adapter)

    @property
    def model(self) -> ModelFacts:
        return self._adapter.facts

    @property
    def defaults(self) -> StreamDefaults:
        """Sampling rate, interval and budget that suit the checkpoint."""
        return self._adapter.defaults

    @property
    def commentary(self) -> CommentaryPrompts:
        """The strings of a stream with commentary."""
        return self._adapter.commentary

    @property
    def stats(self) -> EngineStats:
        """How much is promised to sessions, and what is under way, as of the engine's last step."""
        load = self._worker.load
        return EngineStats(
            n_sessions=self._ledger.n_streams,
            used_bytes=self._ledger.used_bytes,
            limit_bytes=self._ledger.limit_bytes,
            n_answers=load.n_answers,
            waiting_frames=load.waiting_frames,
            captures=() if self._worker.static is None else self._worker.static.captures,
        )

    def warm_up(self, *, questions: int = 128, sessions: int = 1) -> WarmUp:
        """Do now what the first question would wait for; returns what was done and how long it took.

        questions: tokens of the longest one, its template included. sessions: how many are asked at once; for as many,
        at the default budget, memory is taken too. On CUDA, forwards up to these sizes are recorded as graphs, up to
        questions of 128 tokens and 64 answers at once; others, and all without this call, launch kernel by kernel.
        """
        return self._on_thread(lambda: warm_up(self._adapter, self._worker.static, questions, sessions))

    def open(
        self,
        memory: str | Policy = DEFAULT_MEMORY,
        *,
        budget: int | str | None = None,
        chunk: int | None = None,
        layers: str | None = None,
        keep_raw: bool = True,
        memory_bits: MemoryBits | None = None,
        seed: int = 0,
        max_waiting_frames: int | None = None,
    ) -> Session:
        """Start a stream.

        memory: a policy, or its name with options, as in "hermes(reindex=eager)".
        budget: tokens per layer, or bytes over all layers as in "16MiB"; by default what suits the checkpoint.
        chunk: frames of a compression interval.
        layers: how a policy that groups layers does it: shares of shallow, middle and deep ones as in "10/60/30",
            "measured" for the borders that come with the checkpoint, or the path of an inspection.
        max_waiting_frames: of those that are offered, by default two intervals; see `Session.offer`.
        memory_bits: of held keys and values: 16, the model's own precision (even if that has 32), or 8, for three times
            the rows in as many bytes; by default what the memory says, 16 if nothing.
        Raises PolicyError or ConfigError for settings that cannot work, LimitError where the memory limit leaves no
        room for one session more.
        """
        policy = self._policy(memory, budget, keep_raw=keep_raw, memory_bits=memory_bits)
        if layers is not None:
            facts, measured = self.model, self.defaults.measured_layers
            policy = policy.with_layers(parse_layers(layers).borders_of(facts.name, facts.n_layers, measured))
        chunk_frames = self.defaults.chunk_frames if chunk is None else chunk
        if chunk_frames < 1:
            raise ConfigError(f"chunk is {chunk_frames}; an interval needs at least 1 frame")
        # On the engine's thread, because rows of all sessions may stand in one arena.
        stream = self._on_thread(
            lambda: open_stream(self._adapter, policy, chunk_frames=chunk_frames, keep_raw=keep_raw, seed=seed)
        )
        session = self._session(stream, max_waiting_frames)
        self.call(session, lambda: commit_prefix(stream))
        return session

    def restore(self, snapshot: Snapshot | str | Path, *, own: Collection[type[Any]] = ()) -> Session:
        """A session that goes on where a snapshot, or the file of one, was taken.

        own: classes of yours that it holds: a policy from outside this package, and the dataclasses of its state.
        Raises SnapshotError for a file that is no snapshot or damaged, and where the model is not the one of then;
        LimitError where the memory limit leaves no room.
        """
        saved = snapshot if isinstance(snapshot, Snapshot) else Snapshot.load(snapshot)
        return self._session(self._on_thread(lambda: restore_stream(self._adapter, saved, own)))

    def close(self) -> None:
        """End the thread; what still waits fails with SessionClosed."""
        self._finalizer()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit_watch(
        self, session: Session, frames: Iterable[Frame], after: Future[None] | None = None
    ) -> Future[None]:
        """Put frames into a session's memory; the future resolves when they are in.

        after: the future of frames without which these may not come in: what fails there fails here.
        """
        stream, frames = _watching(session), deque(frames)
        check_behind(stream.gaps, frames)
        job = WatchJob(stream, frames, Future(), after=after)
        self._worker.submit(job)
        return job.done

    def submit_offer(self, session: Session, live: LiveQueue, frames: Sequence[Frame]) -> int:
        """Queue frames for a session without waiting; returns how many were taken."""
        stream = _watching(session)
        check_behind(stream.gaps, frames)
        n_taken, must_begin = live.offer(frames)
        if must_begin:
            job = WatchJob(stream, deque(), Future(), live)
            job.done.add_done_callback(live.end)
            try:
                self._worker.submit(job)
            except SessionClosed as error:
                job.done.set_exception(error)
                raise
        return n_taken

    def submit_ask(self, session: Session, answer: AnswerStream, *, remember: bool) -> None:
        """Start answering a question; tokens go to `answer`."""
        self._worker.submit(AskJob(_running(session), answer.query, Channel(answer), remember=remember))

    def begin_commentary(self, session: Session, settings: CommentarySettings) -> None:
        """Make a session that has seen nothing one with commentary."""
        self.call(session, lambda: begin_commentary(session.stream, settings))

    def submit_round(self, session: Session, frames: Sequence[Frame], step: int) -> Future[None]:
        """Put the frames of one step into a narrated session, behind the reply to those before."""
        job = RoundJob(_running(session), deque(frames), Future(), step=step)
        self._worker.submit(job)
        return job.done

    def submit_speech(self, session: Session, words: AnswerStream) -> None:
        """Start speaking about the newest round; tokens go to `words`."""
        self._worker.submit(AskJob(_running(session), words.query, Channel(words), speaks=True))

    def submit_score(self, session: Session, scores: PendingScores, choices: tuple[str, ...]) -> None:
        """Start scoring possible answers; the result goes to `scores`."""
        self._worker.submit(AskJob(_running(session), scores.query, Channel(scores), choices=choices))

    def ping(self) -> Future[None]:
        """The future resolves between two forwards: the thread lives. Raises SessionClosed if it has ended."""
        job = CallJob(lambda: None, Future())
        self._worker.submit(job)
        return job.done

    def call(self, session: Session, function: Callable[[], _T]) -> _T:
        """Run a function on the engine's thread between two forwards and return its result."""
        _open(session)
        return self._on_thread(function)

    def fork(self, session: Session) -> Session:
        """A second session with the same past. Raises LimitError where the memory limit leaves no room."""
        return self._session(self.call(session, session.stream.fork), session.max_waiting_frames)

    def as_of(self, session: Session, time_seconds: float) -> Session:
        """A session of the same past up to a time. Raises LimitError where the memory limit leaves no room."""
        stream = self.call(session, lambda: as_of(session.stream, time_seconds))
        return self._session(stream, session.max_waiting_frames)

    def forget_times(self, session: Session, live: LiveQueue, start_seconds: float, end_seconds: float) -> Forgotten:
        """Remove all that a session holds of some time, frames on their way included."""
        check_times(start_seconds, end_seconds)

        def forget() -> Forgotten:
            stream, times = session.stream, (start_seconds, end_seconds)
            n_frames = live.give_up(*times) + self._worker.give_up(stream, *times)
            n_answers = self._worker.n_answers(stream)
            return forget_times(stream, *times, n_on_their_way=n_frames, n_answers=n_answers)

        return self.call(session, forget)

    def forget(self, session: Session) -> None:
        """Drop all work of a session that is being closed, and give back what was promised to it."""
        self._ledger.release(session.stream)
        job = CallJob(lambda: self._worker.forget(session.stream), Future())
        try:
            self._worker.submit(job)
        except SessionClosed:
            return
        job.done.result()

    def _session(self, stream: Stream, max_waiting_frames: int | None = None) -> Session:
        """A session of a new stream, if there is room for it."""
        session = Session(self, stream, max_waiting_frames=max_waiting_frames)
        self._ledger.admit(stream)
        return session

    def _on_thread(self, function: Callable[[], _T]) -> _T:
        job = CallJob(function, Future())
        self._worker.submit(job)
        result: _T = job.done.result()
        return result

    def _policy(
        self, memory: str | Policy, budget: int | str | None, *, keep_raw: bool, memory_bits: MemoryBits | None
    ) -> Policy:
        if isinstance(memory, Policy):
            policy = memory if memory_bits is None else memory.with_memory_bits(memory_bits)
            if budget is not None and policy.budget is not None:
                raise ConfigError(f"two budgets: {policy.budget} in the memory and {budget} beside it; give one")
            if budget is not None:
                policy = policy.with_budget(parse_budget(budget).tokens(self.bytes_per_token(policy, keep_raw)))
        else:
            kind = parse_memory(memory, bytes_per_token=1)
            if memory_bits is not None:
                kind = kind.with_memory_bits(memory_bits)
            policy = parse_memory(memory, budget, bytes_per_token=self.bytes_per_token(kind, keep_raw))
            policy = policy.with_memory_bits(kind.memory_bits)
        return policy.with_budget(self.defaults.budget_tokens)

    def bytes_per_token(self, policy: Policy, keep_raw: bool = True) -> int:
        """What a token that this policy holds takes over all layers: keys and values, or its embedding and taps."""
        shape = memory_shape(self.model)
        if policy.ingests == "features":
            return (1 + self.model.n_taps) * self.model.hidden_size * torch.empty(0, dtype=shape.dtype).element_size()
        return shape.bytes_per_token(keep_raw=keep_raw, memory_bits=policy.memory_bits)


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    dtype: str | None = None,
    device: str | None = None,
    device_map: DeviceMap | None = None,
    max_pixels: int | None = None,
    text_positions: str = "after",
    quantization: str | Any | None = None,
    tensor_parallel: int = 1,
    memory_limit: int | str | None = None,
    max_forward_tokens: int | None = None,
) -> Engine:
    """Load a checkpoint and start its engine; see `models.load.load_adapter` and `Engine` for the options.

    tensor_parallel: devices of this machine that share the model, each with a process and its part of all heads.
    """
    adapter = load_shared(
        name,
        tensor_parallel=tensor_parallel,
        dtype=dtype,
        device=device,
        device_map=device_map,
        max_pixels=max_pixels,
        text_positions=text_positions,
        quantization=quantization,
    )
    try:
        return Engine(adapter, memory_limit=memory_limit, max_forward_tokens=max_forward_tokens)
    except BaseException:
        adapter.close()
        raise


def _end(worker: Worker, adapter: Adapter) -> None:
    worker.stop()
    adapter.close()


def _open(session: Session) -> Stream:
    if session.is_closed:
        raise SessionClosed("the session is closed; open a new one")
    return session.stream


def _watching(session: Session) -> Stream:
    """The same, if it takes frames. Raises UsageError if it shows a past, or has them from its commentary."""
    stream = _running(session)
    stream.check_open_ended()
    if stream.commentary is not None:
        raise UsageError("the session is narrated: give its frames to what `narrate()` returned")
    return stream


def _running(session: Session) -> Stream:
    """The same, if it takes frames and questions. Raises SessionError if it was stopped."""
    stream = _open(session)
    if stream.stopped is not None:
        raise SessionError(stream.stopped)
    return stream
