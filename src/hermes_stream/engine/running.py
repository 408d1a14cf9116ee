"""Runs what was chosen for a forward, and finishes it for each job; what fails takes nobody else along.

A forward that fails is run again in smaller parts: until each part works, or is one job that must fail alone. Where
memory ran out, frames also go in fewer at a time, down to a grid.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hermes_stream.engine.answering import Answering
from hermes_stream.engine.backlog import Backlog
from hermes_stream.engine.batch import Segment
from hermes_stream.engine.choosing import choose_tokens
from hermes_stream.engine.faults import is_out_of_memory
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.static_forwards import Outcome, StaticForwards
from hermes_stream.engine.jobs import AskJob, WatchJob, Work
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import RankError, SessionError
from hermes_stream.models.adapter import Adapter

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The work of one forward."""

    asks: Sequence[AskJob]
    pieces: Sequence[tuple[WatchJob, Work]] = ()

    @property
    def n_jobs(self) -> int:
        return len(self.asks) + len(self.pieces)


class Runner:
    """The half of a step that changes memories and answers; used on the engine's thread only."""

    def __init__(
        self, adapter: Adapter, backlog: Backlog, answering: Answering, static: StaticForwards | None = None
    ) -> None:
        self._adapter, self._backlog, self._answering, self._static = adapter, backlog, answering, static

    def run(self, chosen: Chosen) -> None:
        """One forward, and what it brought for each job in it."""
        outcome = self._forward(chosen)
        if isinstance(outcome, BaseException):
            self._run_apart(chosen, outcome)
            return
        tokens = choose_tokens([ask.begun for ask in chosen.asks], outcome)
        for ask, token in zip(chosen.asks, tokens, strict=True):
            if isinstance(token, SessionError):
                self._stop(ask.stream, token)
            elif ask.stream.stopped is None:
                self._answering.advance(ask, token)
        for job, piece in chosen.pieces:
            if job.stream.stopped is None:
                self._finish(job, piece)

    def piece(self, job: WatchJob, n_grids: int) -> Work | None:
        """The first encoded grids of a job, or fewer where memory runs out; None if the job or a grid was given up."""
        try:
            return job.piece(n_grids)
        except BaseException as error:
            failure = _without_frames(error)
        if not is_out_of_memory(failure):
            self.fail(job, failure)
        elif n_grids > 1:
            return self.piece(job, n_grids // 2)
        else:
            self._drop_grid(job)
        return None

    def encode_fewer(self, job: WatchJob) -> None:
        """The vision tower had no room for what it got of a job: half of it the next time, or one grid is dropped."""
        if job.encodes_one_grid:
            self._drop_grid(job)
        else:
            job.encode_half()

    def fail(self, job: WatchJob, error: BaseException) -> None:
        """Frames cannot come in. If that is because numbers are not finite, nothing else of the session goes on."""
        if isinstance(error, SessionError):
            self._stop(job.stream, error)
        else:
            self._backlog.fail(job, error)

    def _forward(self, chosen: Chosen) -> Outcome | BaseException:
        segments: list[Segment] = [ask.begun.segment() for ask in chosen.asks]
        try:
            for _, piece in chosen.pieces:
                segments.extend(piece.segments())
            return run_forward(self._adapter, segments, self._static)
        except BaseException as error:
            for _, piece in chosen.pieces:
                piece.give_up()
            return _without_frames(error)

    def _run_apart(self, chosen: Chosen, error: BaseException) -> None:
        """Answers without frames, then each job by itself."""
        if is_out_of_memory(error) and self._adapter.facts.device.type == "cuda":
            torch.cuda.empty_cache()
        if chosen.n_jobs == 1:
            self._run_less(chosen, error)
        elif chosen.asks and chosen.pieces:
            self.run(Chosen(chosen.asks))
            self._run_apart(Chosen((), chosen.pieces), error)
        else:
            for ask in chosen.asks:
                self.run(Chosen([ask]))
            for job, piece in chosen.pieces:
                self._run_piece(job, piece.n_grids)

    def _run_less(self, chosen: Chosen, error: BaseException) -> None:
        """A job that failed alone."""
        for ask in chosen.asks:
            self._answering.end(ask, error)
        for job, piece in chosen.pieces:
            if not is_out_of_memory(error):
                # Of a rank that ended was told already.
                if not isinstance(error, RankError):
                    _log.error("frames could not be taken in; the memory is as it was before them", exc_info=error)
                self.fail(job, error)
            elif piece.n_grids > 1:
                self._run_piece(job, piece.n_grids // 2)
            else:
                self._drop_grid(job)

    def _run_piece(self, job: WatchJob, n_grids: int) -> None:
        piece = self.piece(job, n_grids)
        if piece is not None:
            self.run(Chosen((), [(job, piece)]))

    def _finish(self, job: WatchJob, piece: Work) -> None:
        try:
            piece.finish()
        except BaseException as error:
            # A policy is foreign code: whatever it raises belongs to who watches.
            failure = _without_frames(error)
        else:
            arrived = [job.frames[index] for index in range(piece.n_frames)]
            self._arrive(job, piece.n_frames, piece.n_grids)
            if job.stream.on_arrival is not None:
                job.stream.on_arrival(arrived)
            return
        if is_out_of_memory(failure):
            self._run_less(Chosen((), [(job, piece)]), failure)
        else:
            self.fail(job, failure)

    def _arrive(self, job: WatchJob, n_frames: int, n_grids: int) -> None:
        if job.arrive(n_frames, n_grids):
            self._backlog.done(job)
        else:
            self._backlog.served(job)

    def _drop_grid(self, job: WatchJob) -> None:
        """Memory has no room for a single grid more: its frames are given up, and the stream goes on behind them."""
        stream = job.stream
        n_frames = job.frames_of_grid
        if not stream.frames_dropped:
            _log.warning(
                "memory ran out, and frames at %.1f s were dropped; take a smaller budget, fewer sessions or pixels",
                job.frames[0].pts_seconds,
            )
        stream.frames_dropped += n_frames + len(stream.waiting)
        stream.waiting = ()
        self._arrive(job, n_frames, 1)

    def _stop(self, stream: Stream, error: SessionError) -> None:
        """A session whose numbers are none takes no more frames and questions; what it has begun fails."""
        stream.stopped = str(error)
        self._backlog.forget(stream, error)
        self._answering.forget(stream, error)


def _without_frames(error: BaseException) -> BaseException:
    """What was raised, without the stack that holds on to the tensors of what failed."""
    return error.with_traceback(None)
