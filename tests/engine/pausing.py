"""An engine that stands still while jobs are handed over, so that they meet in its next forwards on any machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from hermes_stream import Engine
from hermes_stream.engine.jobs import CallJob


@contextmanager
def paused(engine: Engine) -> Iterator[None]:
    """Within, nothing that is handed over begins; only what does not wait for the engine may be done."""
    began, go = threading.Event(), threading.Event()
    job = CallJob(lambda: (began.set(), go.wait()), Future())
    engine._worker.submit(job)
    began.wait()
    try:
        yield
    finally:
        go.set()
        job.done.result()
