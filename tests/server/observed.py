"""A whole server in this process: what it says of itself, and its insides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from hermes_stream import Engine
from hermes_stream.server.app import make_app
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.settings import ServerSettings

from .running import running


class Observed:
    """A server in this process, with its metrics and its insides."""

    def __init__(self, app: FastAPI, client: httpx2.Client) -> None:
        self.app, self.client = app, client

    def scrape(self) -> Callable[..., float]:
        """The numbers as of now: by name and labels; 0 for what is not there."""
        text = self.client.get("/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

        def value(name: str, **labels: str) -> float:
            found = [each for each in samples if each.name == f"hermes_stream_{name}"]
            return sum(each.value for each in found if labels.items() <= each.labels.items())

        return value

    def names(self, label: str) -> set[str]:
        """Every value of a label."""
        text = self.client.get("/metrics").text
        families = text_string_to_metric_families(text)
        return {s.labels[label] for family in families for s in family.samples if label in s.labels}

    def open(self, **spec: Any) -> LiveSession:
        name = self.client.post("/v1/sessions", json=spec).json()["id"]
        return next(live for live in self.app.state.server.hub.sessions() if live.name == name)

    def ask(self, live: LiveSession, **question: Any) -> httpx2.Response:
        return self.client.post(f"/v1/sessions/{live.name}/ask", json=question)


@contextmanager
def observed(engine: Engine, **settings: Any) -> Iterator[Observed]:
    app = make_app(ServerSettings(**settings), {engine.model.name: engine})
    with running(app, "on") as place, httpx2.Client(base_url=f"http://{place}", timeout=60) as client:
        while client.get("/ready").status_code != 200:
            time.sleep(0.01)
        yield Observed(app, client)


@contextmanager
def held_up(live: LiveSession) -> Iterator[threading.Event]:
    """The engine's thread does nothing until the event is set, or the block ends."""
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        is_held.set()
        is_over.wait(30)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(live.engine.call, live.session, hold)
        is_held.wait()
        try:
            yield is_over
        finally:
            is_over.set()
