"""What Prometheus is told: counts that are kept here, and what sessions and engines say of themselves when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hermes_stream.engine.engine import Engine, EngineStats
from hermes_stream.engine.session import SessionStats
from hermes_stream.server.bus import Event
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.questions import Asker
from hermes_stream.server.state.keeper import Keeper

_PREFIX = "hermes_stream"
# From a tiny model on a device to a large one on a CPU.
_TTFT_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
_SAVE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATES = ("live", "gap", "ended")
_OUTCOMES = ("answered", "cancelled", "failed", "refused")


class Metrics:
    """Everything that is measured, in a registry of its own; used on the server's loop."""

    def __init__(self) -> None:
        # Of the whole process; a second series for each one, which says when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._ttft = self._histogram("ttft_seconds", "From a question to the first token of its answer.", _TTFT_SECONDS)
        self._answers = self._counter("answers", "Questions by what became of them.", "outcome")
        self._requests = self._counter("http_requests", "Requests and WebSockets.", "method", "route", "status")
        self._alerts = self._counter("alerts", "Alerts that standing questions gave.")
        self._webhooks = self._counter("webhooks", "Deliveries of alerts to webhooks.", "outcome")
        self._saves = self._histogram("checkpoint_seconds", "What saving a session took.", _SAVE_SECONDS)
        self._failed_saves = self._counter("checkpoint_failures", "Sessions that could not be saved.")
        self._wrong_keys = self._counter("wrong_keys", "Requests with a key that is none.")
        for outcome in _OUTCOMES:
            self._answers.labels(outcome)

    def attach(self, hub: Hub, keeper: Keeper, asker: Asker) -> None:
        """Listen to a server that begins, of which everything else is in place."""
        sessions = _Sessions(hub)
        self.registry.register(sessions)
        self.registry.register(_Engines(hub.engines))
        # Before anybody feeds a session, and after the last one has stopped.
        hub.on_open.insert(0, sessions.begin)
        hub.on_open.insert(0, lambda live: live.bus.taps.append(self._note))
        hub.on_close.append(sessions.end)
        keeper.on_save.append(self._note_save)
        asker.on_outcome.append(self._note_answer)

    def note_request(self, method: str, route: str, status: int) -> None:
        """A request has ended."""
        self._requests.labels(method, route, str(status)).inc()

    def note_wrong_key(self) -> None:
        """Somebody showed a key that is none."""
        self._wrong_keys.inc()

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)

    def _note(self, event: Event) -> None:
        if event.kind == "alert":
            self._alerts.inc()
        elif event.kind == "webhook":
            self._webhooks.labels(event.data["outcome"]).inc()

    def _note_save(self, seconds: float | None) -> None:
        if seconds is None:
            self._failed_saves.inc()
        else:
            self._saves.observe(seconds)

    def _note_answer(self, outcome: str, ttft_seconds: float | None) -> None:
        self._answers.labels(outcome).inc()
        if ttft_seconds is not None:
            self._ttft.observe(ttft_seconds)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", what, registry=self.registry, buckets=buckets)


@dataclass(slots=True)
class _Done:
    """What a session has done so far."""

    seen: int = 0
    dropped: int = 0
    refused: int = 0
    tokens: int = 0
    compressions: int = 0

    @staticmethod
    def by(live: LiveSession) -> _Done:
        stats = live.session.stats
        return _Done(
            stats.frames_seen, live.frames_dropped, live.frames_refused, stats.tokens_seen, stats.n_compressions
        )


class _Sessions(Collector):
    """Sessions by state, what each live one holds, and what all of them did since the server began."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._done = _Done()
        # Of each live session, as far as it is counted in `_done`.
        self._counted: dict[str, _Done] = {}

    def begin(self, live: LiveSession) -> None:
        """What a session did before, in an earlier life or as another one's past, does not count."""
        self._counted[live.name] = _Done.by(live)

    def end(self, live: LiveSession) -> None:
        self._count(live)
        del self._counted[live.name]

    def describe(self) -> list[Metric]:
        """Nothing before the first scrape: a registry would call `collect` to find the names out."""
        return []

    def collect(self) -> Iterator[Metric]:
        sessions = self._hub.sessions()
        for live in sessions:
            self._count(live)
        yield from self._totals()
        states = GaugeMetricFamily(f"{_PREFIX}_sessions", "Sessions by state.", labels=["state"])
        for state in _STATES:
            states.add_metric([state], sum(live.state == state for live in sessions))
        yield states
        yield from _of_each(sessions)

    def _count(self, live: LiveSession) -> None:
        """Only what grew: a memory that was made again begins at less."""
        now, before = _Done.by(live), self._counted[live.name]
        for name in (field.name for field in fields(_Done)):
            grown = max(getattr(now, name) - getattr(before, name), 0)
            setattr(self._done, name, getattr(self._done, name) + grown)
        self._counted[live.name] = now

    def _totals(self) -> Iterator[Metric]:
        frames = CounterMetricFamily(f"{_PREFIX}_frames", "Frames by what became of them.", labels=["outcome"])
        for outcome in ("seen", "dropped", "refused"):
            frames.add_metric([outcome], getattr(self._done, outcome))
        yield frames
        yield CounterMetricFamily(f"{_PREFIX}_tokens", "Tokens of frames seen.", value=self._done.tokens)
        yield CounterMetricFamily(f"{_PREFIX}_compressions", "Evictions by memories.", value=self._done.compressions)


def _of_each(sessions: list[LiveSession]) -> Iterator[Metric]:
    """Gauges with a session's id; they go with it."""
    stats = [(live.name, live.session.stats) for live in sessions]
    rows: tuple[tuple[str, str, Callable[[SessionStats], float]], ...] = (
        ("lag_seconds", "From the newest frame in the memory to the newest one offered.", lambda s: s.lag_seconds),
        ("time_seconds", "Time of the newest frame in the memory.", lambda s: s.time_seconds),
        ("waiting_frames", "Frames offered and not in yet.", lambda s: s.waiting_frames),
        ("held_tokens", "Token rows held, over all layers.", lambda s: sum(s.held_tokens)),
        ("memory_bytes", "Of held rows, features and a policy's tensors.", lambda s: s.memory_bytes),
        ("archive_bytes", "Of archived rows, in host memory and on disk.", lambda s: s.archive_bytes + s.disk_bytes),
    )
    for name, what, read in rows:
        gauge = GaugeMetricFamily(f"{_PREFIX}_session_{name}", what, labels=["session"])
        for session, each in stats:
            gauge.add_metric([session], read(each))
        yield gauge


class _Engines(Collector):
    """What each model's engine has promised, and what waits for it."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        rows: tuple[tuple[str, str, Callable[[EngineStats], float | None]], ...] = (
            ("memory_used_bytes", "Promised to weights, sessions and one forward.", lambda s: s.used_bytes),
            ("memory_limit_bytes", "What may be promised.", lambda s: s.limit_bytes),
            ("open_questions", "Questions without a complete answer.", lambda s: s.n_answers),
            ("waiting_frames", "Frames that are not in yet, of all sessions.", lambda s: s.waiting_frames),
        )
        stats = {name: engine.stats for name, engine in self._engines.items()}
        for name, what, read in rows:
            gauge = GaugeMetricFamily(f"{_PREFIX}_engine_{name}", what, labels=["model"])
            for model, each in stats.items():
                if (value := read(each)) is not None:
                    gauge.add_metric([model], value)
            yield gauge
