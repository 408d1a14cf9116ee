"""Frames that were handed over and are not in yet, stream by stream."""

from __future__ import annotations

from collections import deque

from hermes_stream.engine.jobs import WatchJob
from hermes_stream.engine.stream import Stream


class Backlog:
    """Watch jobs of each stream, first come first served; the stream first that has waited longest since its last turn.

    A job leaves with its future resolved: by `done` when its last frame is in, by `fail` and `forget` otherwise.
    """

    def __init__(self) -> None:
        self._jobs: dict[Stream, deque[WatchJob]] = {}

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, job: WatchJob) -> None:
        self._jobs.setdefault(job.stream, deque()).append(job)

    def heads(self) -> list[WatchJob]:
        """The job of each stream whose turn it is."""
        return [jobs[0] for jobs in self._jobs.values()]

    def __contains__(self, job: WatchJob) -> bool:
        return job in self._jobs.get(job.stream, ())

    def served(self, job: WatchJob) -> None:
        """Frames of the job are in; its stream goes behind all others."""
        self._jobs[job.stream] = self._jobs.pop(job.stream)

    def done(self, job: WatchJob) -> None:
        """The last ones are in."""
        self.served(job)
        self._remove(job)
        job.done.set_result(None)

    def fail(self, job: WatchJob, error: BaseException) -> None:
        self._remove(job)
        job.done.set_exception(error)

    def forget(self, stream: Stream, error: BaseException) -> None:
        """All jobs of a stream fail."""
        for job in self._jobs.pop(stream, ()):
            job.done.set_exception(error)

    def forget_all(self, error: BaseException) -> None:
        for stream in list(self._jobs):
            self.forget(stream, error)

    def _remove(self, job: WatchJob) -> None:
        waiting = self._jobs[job.stream]
        waiting.remove(job)
        if not waiting:
            del self._jobs[job.stream]
