"""The one thread that owns the model and every session's memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import torch

from hermes_stream.engine.admission import Ledger
from hermes_stream.engine.answering import Answering
from hermes_stream.engine.backlog import Backlog
from hermes_stream.engine.faults import is_out_of_memory
from hermes_stream.engine.graphs.static_forwards import static_forwards
from hermes_stream.engine.jobs import AskJob, CallJob, Job, WatchJob
from hermes_stream.engine.running import Chosen, Runner
from hermes_stream.engine.schedule import Limits, Ready, choose, frame_room
from hermes_stream.engine.stream import Stream
from hermes_stream.engine.vision import Encoded, VisionStage, overlaps_vision
from hermes_stream.errors import SessionClosed
from hermes_stream.models.adapter import Adapter


class _Stop:
    pass


@dataclass(frozen=True, slots=True)
class Load:
    """What is under way: questions without a complete answer, and frames that are not in yet."""

    n_answers: int = 0
    waiting_frames: int = 0


class Worker:
    """Takes jobs, packs what is ready into forwards, hands out results.

    Each step encodes frames, chooses a forward (`schedule`), runs it and finishes what was in it (`running`). What
    fails fails alone, and leaves every memory as it was.
    """

    def __init__(self, adapter: Adapter, ledger: Ledger, limits: Limits) -> None:
        self._adapter = adapter
        self._limits = limits
        self._inbox: SimpleQueue[Job | list[Encoded] | _Stop] = SimpleQueue()
        self._backlog = Backlog()
        self._answering = Answering(ledger)
        overlaps = overlaps_vision(adapter.facts.device)
        self._vision = VisionStage(adapter, self._inbox.put if overlaps else self._take_encoded, overlaps=overlaps)
        self._is_encoding = False
        # Whether the last forward left frames waiting for the sake of new questions.
        self._kept_frames = False
        self._stopping = False
        # As of the last step; read on other threads.
        self.load = Load()
        self.static = static_forwards(adapter)
        self._runner = Runner(adapter, self._backlog, self._answering, self.static)
        # Between the question whether the thread still takes jobs and the putting of one.
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hermes-stream engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Raises SessionClosed where nobody would take the job: after `stop`, and in a forked process."""
        with self._lock:
            if self._stopping or not self._thread.is_alive():
                raise self._closed()
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
        closed = SessionClosed("the session was closed")
        self._backlog.forget(stream, closed)
        self._backlog.tell()
        self._answering.forget(stream, closed)

    def give_up(self, stream: Stream, start_seconds: float, end_seconds: float) -> int:
        """Frames of some time do not come in any more; returns how many they were (called on the worker's thread)."""
        return self._backlog.give_up(stream, start_seconds, end_seconds)

    def n_answers(self, stream: Stream) -> int:
        """Questions about a stream that are not answered yet (called on the worker's thread)."""
        return self._answering.n_of(stream)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while not self._stopping and self._adapter.why_ended is None:
                    self._take_jobs()
                    if not self._stopping:
                        self._step()
                        self.load = Load(len(self._answering), self._backlog.n_frames)
                        self._backlog.tell()
        finally:
            # Also if something ends the thread that should not: nobody may wait for ever.
            with self._lock:
                self._stopping = True
            self._fail_everything()

    def _take_jobs(self) -> None:
        is_idle = not self._has_work()
        try:
            while True:
                job = self._inbox.get(block=is_idle)
                is_idle = False
                self._accept(job)
        except Empty:
            pass

    def _has_work(self) -> bool:
        if self._is_encoding and not self._answering:
            return any(job.encoded is not None for job in self._backlog.heads())
        return bool(self._answering or self._backlog)

    def _accept(self, job: Job | list[Encoded] | _Stop) -> None:
        if isinstance(job, WatchJob):
            self._backlog.add(job)
        elif isinstance(job, AskJob):
            self._answering.start(job)
        elif isinstance(job, CallJob):
            job.resolve()
        elif isinstance(job, list):
            self._is_encoding = False
            self._take_encoded(job)

    def _step(self) -> None:
        self._answering.drop_cancelled()
        self.load = Load(len(self._answering), self._backlog.n_frames)
        decoding_rows = sum(ask.n_rows for ask in self._answering.decoding())
        asks = Ready([ask.n_rows for ask in self._answering.new()], decoding_rows, [], self._kept_frames)
        self._start_encoding(frame_room(asks, self._limits))
        self._runner.run(self._choose(asks))

    def _start_encoding(self, room: int) -> None:
        """Let the vision tower have frames that may go into the next forward and are not encoded yet."""
        if self._is_encoding:
            return
        heads = self._backlog.heads()
        # What is encoded on this thread delays the forward, so no more of it than goes along.
        room = self._limits.n_rows if self._vision.overlaps else room
        room -= sum(job.encoded.n_rows for job in heads if job.encoded is not None)
        has_begun = self._vision.start([job for job in heads if job.encoded is None], room)
        self._is_encoding = has_begun and self._vision.overlaps

    def _take_encoded(self, batch: Sequence[Encoded]) -> None:
        for encoded in batch:
            if encoded.job not in self._backlog:
                continue
            try:
                encoded.job.encoded = encoded.tokens()
            except BaseException as error:  # frames, too, are the watcher's to answer for
                if is_out_of_memory(error):
                    self._runner.encode_fewer(encoded.job)
                else:
                    self._runner.fail(encoded.job, error)

    def _choose(self, asks: Ready) -> Chosen:
        heads = self._backlog.heads()
        ready = replace(asks, grid_rows=[job.grid_rows() for job in heads])
        choice = choose(ready, self._limits)
        self._kept_frames = bool(asks.question_rows) and not any(choice.n_grids) and bool(heads)
        pieces = []
        for job, n_grids in zip(heads, choice.n_grids, strict=True):
            if not n_grids and not job.lacks_partner:
                continue
            piece = self._runner.piece(job, n_grids)
            if piece is not None:
                pieces.append((job, piece))
        return Chosen([*self._answering.decoding(), *self._answering.new()[: choice.n_questions]], pieces)

    def _closed(self) -> SessionClosed:
        return SessionClosed(self._adapter.why_ended or "the engine is closed")

    def _fail_everything(self) -> None:
        closed = self._closed()
        self._answering.forget_all(closed)
        self._backlog.forget_all(closed)
        self._backlog.tell()
        try:
            while True:
                waiting = self._inbox.get(block=False)
                if isinstance(waiting, AskJob):
                    waiting.channel.end(closed)
                elif isinstance(waiting, WatchJob | CallJob):
                    waiting.done.set_exception(closed)
        except Empty:
            pass
        self._vision.close()
