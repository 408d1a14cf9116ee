"""An engine that is busy, so that what is asked of it meanwhile meets in one step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hermes_stream import Session

PATIENCE_SECONDS = 60


@contextmanager
def held_up(session: Session) -> Iterator[None]:
    """The engine of the session does nothing else meanwhile."""
    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=lambda: session._engine.call(session, lambda: (begun.set(), over.wait(PATIENCE_SECONDS)))
    )
    thread.start()
    assert begun.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE_SECONDS)
