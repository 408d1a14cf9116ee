"""Applications on real sockets, in this process: so that a test can look inside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import uvicorn
from fastapi import FastAPI

_SHUT_DOWN_SECONDS = 5


@contextmanager
def running(app: FastAPI, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Serve an application on a thread; gives its host and port."""
    config = uvicorn.Config(
        app, port=0, log_config=None, http="h11", lifespan=lifespan, timeout_graceful_shutdown=_SHUT_DOWN_SECONDS
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it began"
            threading.Event().wait(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()
