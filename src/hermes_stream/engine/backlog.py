"""Frames that were handed over and are not in yet, stream by stream."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from hermes_stream.engine.jobs import WatchJob
from hermes_stream.engine.stream import Stream


class Backlog:
    """Watch jobs of each stream, first come first served; the stream first that has waited longest since its last turn.

    A job leaves by `done` when its last frame is in, by `fail` and `forget` otherwise; who waits for it is told by
    `tell`, when nothing of the step holds the stream any more.
    """

    def __init__(self) -> None:
        self._jobs: dict[Stream, deque[WatchJob]] = {}
        self._over: list[tuple[Future[None], BaseException | None]] = []

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __contains__(self, job: WatchJob) -> bool:
        return job in self._jobs.get(job.stream, ())

    @property
    def n_frames(self) -> int:
        """Frames that are not in yet, those included that were offered and wait for their turn."""
        jobs = [job for waiting in self._jobs.values() for job in waiting]
        return sum(len(job.frames) if job.live is None else job.live.n_waiting for job in jobs)

    def add(self, job: WatchJob) -> None:
        """Frames that follow failed ones fail at once."""
        failure = job.after.exception() if job.after is not None and job.after.done() else None
        if failure is not None:
            self._over.append((job.done, failure))
        else:
            self._jobs.setdefault(job.stream, deque()).append(job)

    def heads(self) -> list[WatchJob]:
        """The job of each stream whose turn it is."""
        return [jobs[0] for jobs in self._jobs.values()]

    def served(self, job: WatchJob) -> None:
        """Frames of the job are in; its stream goes behind all others."""
        self._jobs[job.stream] = self._jobs.pop(job.stream)

    def done(self, job: WatchJob) -> None:
        """The last ones are in."""
        self.served(job)
        self._remove(job)
        self._over.append((job.done, None))

    def fail(self, job: WatchJob, error: BaseException) -> None:
        """The job fails, and all that may not come in without it."""
        self._remove(job)
        self._over.append((job.done, error))
        for follower in [other for other in self._jobs.get(job.stream, ()) if other.after is job.done]:
            self.fail(follower, error)

    def forget(self, stream: Stream, error: BaseException) -> None:
        """All jobs of a stream fail."""
        self._over += [(job.done, error) for job in self._jobs.pop(stream, ())]

    def give_up(self, stream: Stream, start_seconds: float, end_seconds: float) -> int:
        """Frames of some time do not come in any more; returns how many they were.

        Other jobs take the place of the stream's: what is being encoded for these is of no use.
        """
        before = self._jobs.pop(stream, deque())
        after = [job.without(start_seconds, end_seconds) for job in before]
        n_given_up = sum(len(job.frames) for job in before) - sum(len(job.frames) for job in after)
        over = [job for job in after if job.is_over()]
        self._over += [(job.done, None) for job in over]
        if left := deque(job for job in after if job not in over):
            self._jobs[stream] = left
        return n_given_up

    def forget_all(self, error: BaseException) -> None:
        for stream in list(self._jobs):
            self.forget(stream, error)

    def tell(self) -> None:
        """Resolve the futures of all jobs that are over."""
        while self._over:
            done, error = self._over.pop(0)
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def _remove(self, job: WatchJob) -> None:
        waiting = self._jobs[job.stream]
        waiting.remove(job)
        if not waiting:
            del self._jobs[job.stream]
