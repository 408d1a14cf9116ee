"""The one thread that owns the model and every session's memory."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

import torch

from hermes_stream.engine.admission import Ledger
from hermes_stream.engine.answer import AnswerChannel, AnswerTask
from hermes_stream.engine.batch import Segment
from hermes_stream.engine.choosing import choose_tokens
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.static_forwards import static_forwards
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import SessionClosed
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Turn
from hermes_stream.types import Frame, Query

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class WatchJob:
    """Frames on their way into one stream; the future resolves when the last one is in."""

    stream: Stream
    frames: deque[Frame]
    done: Future[None]


@dataclass(eq=False)
class AskJob:
    """A question; once started, `task` holds its progress."""

    stream: Stream
    query: Query
    channel: AnswerChannel
    remember: bool
    task: AnswerTask | None = None


@dataclass(eq=False)
class CallJob:
    """Something to run between two forwards."""

    function: Callable[[], Any]
    done: Future[Any]


class _Stop:
    pass


Job = WatchJob | AskJob | CallJob


class Worker:
    """Takes jobs, packs what is ready into forwards, hands out results.

    Each step runs one forward: a segment of every unfinished answer, and one piece of every stream with frames
    waiting. What fails alone fails alone; a failed forward fails the jobs in it and leaves every memory as it was.
    """

    def __init__(self, adapter: Adapter, ledger: Ledger) -> None:
        self._adapter = adapter
        self._ledger = ledger
        self._inbox: SimpleQueue[Job | _Stop] = SimpleQueue()
        self._watching: dict[Stream, deque[WatchJob]] = {}
        self._answering: list[AskJob] = []
        self._stopping = False
        self.static = static_forwards(adapter)
        # Between the question whether the thread still takes jobs and the putting of one.
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hermes-stream engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Raises SessionClosed where nobody would take the job: after `stop`, and in a forked process."""
        with self._lock:
            if self._stopping or not self._thread.is_alive():
                raise SessionClosed("the engine is closed")
            self._inbox.put(job)

    def stop(self) -> None:
        """Finish nothing, end soon; waiting jobs fail with SessionClosed."""
        with self._lock:
            self._stopping = True
            self._inbox.put(_Stop())
        if self._thread is not threading.current_thread():
            self._thread.join()

    def forget(self, stream: Stream) -> None:
        """Drop all work of a stream (called on the worker's thread)."""
        for job in self._watching.pop(stream, ()):
            job.done.set_exception(SessionClosed("the session was closed"))
        for ask in [ask for ask in self._answering if ask.stream is stream]:
            self._end(ask, SessionClosed("the session was closed"))

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while not self._stopping:
                    self._take_jobs()
                    if not self._stopping:
                        self._step()
        finally:
            # Also if something ends the thread that should not: nobody may wait for ever.
            with self._lock:
                self._stopping = True
            self._fail_everything()

    def _take_jobs(self) -> None:
        is_idle = not self._answering and not self._watching
        try:
            while True:
                job = self._inbox.get(block=is_idle)
                is_idle = False
                self._accept(job)
        except Empty:
            pass

    def _accept(self, job: Job | _Stop) -> None:
        if isinstance(job, WatchJob):
            self._watching.setdefault(job.stream, deque()).append(job)
        elif isinstance(job, AskJob):
            self._start_answer(job)
        elif isinstance(job, CallJob):
            _resolve(job)

    def _start_answer(self, job: AskJob) -> None:
        """Pin the version that the question is asked of: all frames that are in at this moment."""
        try:
            task = AnswerTask(job.stream, job.query, job.channel)
            self._ledger.pin(job.stream, task)
            job.task = task
            self._answering.append(job)
        except BaseException as error:  # it is the asker's to handle: this thread must live on
            job.channel.put(error)

    def _step(self) -> None:
        for ask in [ask for ask in self._answering if ask.channel.is_cancelled]:
            self._end(ask, SessionClosed("the answer was cancelled"))
        asks = list(self._answering)
        # A new question goes first and alone: its first token must not wait for a chunk.
        new = [ask for ask in asks if ask.task and not ask.task.has_begun]
        asks, pieces = (new, []) if new else (asks, self._next_pieces())
        segments: list[Segment] = [ask.task.segment() for ask in asks if ask.task]
        for _, piece in pieces:
            segments.extend(piece.segments())
        try:
            outcome = run_forward(self._adapter, segments, self.static)
        except BaseException as error:
            self._fail_step(asks, pieces, error)
            return
        tasks = [ask.task for ask in asks if ask.task]
        for ask, token in zip(asks, choose_tokens(tasks, outcome), strict=True):
            self._advance(ask, token)
        for job, piece in pieces:
            self._finish_piece(job, piece)

    def _next_pieces(self) -> list[tuple[WatchJob, Piece]]:
        """One piece of every stream that has frames waiting; small ones while answers wait for their next token."""
        pieces = []
        for stream in list(self._watching):
            job = self._watching[stream][0]
            most = self._adapter.facts.frames_per_grid if self._answering else stream.chunk_frames
            try:
                pieces.append((job, Piece(stream, list(islice(job.frames, most)))))
            except BaseException as error:
                self._drop_watch(job, error)
        return pieces

    def _finish_piece(self, job: WatchJob, piece: Piece) -> None:
        try:
            piece.finish()
        except BaseException as error:
            # A policy is foreign code: whatever it raises belongs to who watches.
            self._drop_watch(job, error)
            return
        for _ in range(piece.n_frames):
            job.frames.popleft()
        if not job.frames:
            self._drop_watch(job, None)

    def _drop_watch(self, job: WatchJob, error: BaseException | None) -> None:
        waiting = self._watching[job.stream]
        waiting.remove(job)
        if not waiting:
            del self._watching[job.stream]
        if error is None:
            job.done.set_result(None)
        else:
            job.done.set_exception(error)

    def _advance(self, ask: AskJob, token: int | Exception) -> None:
        try:
            assert ask.task is not None
            if isinstance(token, Exception):
                raise token
            answer = ask.task.accept(token)
            if answer is not None:
                self._answering.remove(ask)
                if ask.remember:
                    ask.stream.history = (Turn(ask.query.text, ask.query.meant_by(answer.text)),)
                ask.channel.put(answer)
        except BaseException as error:
            self._end(ask, error)

    def _end(self, ask: AskJob, error: BaseException) -> None:
        self._answering.remove(ask)
        ask.channel.put(error)

    def _fail_step(self, asks: list[AskJob], pieces: list[tuple[WatchJob, Piece]], error: BaseException) -> None:
        _log.exception("a forward failed; the memories in it are unchanged")
        for ask in asks:
            self._end(ask, error)
        for job, _ in pieces:
            self._drop_watch(job, error)

    def _fail_everything(self) -> None:
        closed = SessionClosed("the engine is closed")
        for ask in list(self._answering):
            self._end(ask, closed)
        for jobs in self._watching.values():
            for job in jobs:
                job.done.set_exception(closed)
        self._watching.clear()
        try:
            while True:
                waiting = self._inbox.get(block=False)
                if isinstance(waiting, AskJob):
                    waiting.channel.put(closed)
                elif not isinstance(waiting, _Stop):
                    waiting.done.set_exception(closed)
        except Empty:
            pass


def _resolve(job: CallJob) -> None:
    try:
        job.done.set_result(job.function())
    except BaseException as error:
        job.done.set_exception(error)
