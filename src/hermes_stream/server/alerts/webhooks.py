"""Deliveries of alerts to webhooks: kept until they are received or given up, also over a restart."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from socket import socket
from typing import Any, Literal

from hermes_stream.server.alerts.webhook_post import SIGNATURE_HEADER, post, read_endpoint, signature
from hermes_stream.server.pull.networks import Forbidden
from hermes_stream.server.state.journal import Journal

_log = logging.getLogger(__name__)

Outcome = Literal["delivered", "failed", "retried"]
Connect = Callable[[str, int, float], socket]
"""Host, port and seconds to a connection. Raises Forbidden where the rules do not let it, OSError if nobody answers."""

_RECORD = "webhook"
_AT_ONCE = 4
_MOST_WAITING = 64
# Of statuses that say no: these may say yes another time.
_PASSING_STATUSES = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a delivery is tried: the waits between tries double, from the first to the longest.

    By default 16 tries over 39 minutes.
    """

    timeout_seconds: float = 10.0
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 300.0
    n_tries: int = 16

    def wait_seconds(self, n_tries: int) -> float:
        """After so many tries that failed."""
        return min(self.first_wait_seconds * 2.0 ** (n_tries - 1), self.longest_wait_seconds)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An alert on its way. body: JSON. time_seconds: of the stream. due_seconds: of the next try, since 1970."""

    session: str
    alert: str
    hit: int
    time_seconds: float
    body: str
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    due_seconds: float = 0.0
    n_tries: int = 0


@dataclass(slots=True)
class Tally:
    """What became of a standing question's deliveries since the server began. error: of the newest that failed."""

    n_delivered: int = 0
    n_failed: int = 0
    error: str = ""


class Webhooks:
    """Everything here runs on the server's loop; connections are made on threads.

    on_outcome: told of each try. Which address and secret a delivery has stands in the record of its alert, so that
    deleting that ends it.
    """

    def __init__(
        self,
        journal: Journal,
        connect: Connect,
        on_outcome: Callable[[Delivery, Outcome], None] = lambda *_: None,
        *,
        patience: Patience | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._journal, self._connect, self._on_outcome = journal, connect, on_outcome
        self._patience, self._tls = patience or Patience(), tls or ssl.create_default_context()
        self._waiting = {name: Delivery(name=name, **record) for name, record in journal.records(_RECORD).items()}
        self._tallies: dict[str, Tally] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def add(self, delivery: Delivery) -> None:
        """Deliver as soon as may be. Of too many that wait for one alert, the oldest is given up."""
        self._keep(delivery)
        self._changed.set()
        waiting = [each for each in self._waiting.values() if each.alert == delivery.alert]
        if len(waiting) > _MOST_WAITING:
            self._give_up(waiting[0], f"more than {_MOST_WAITING} alerts wait for this webhook")

    def forget(self, session: str, start_seconds: float, end_seconds: float) -> None:
        """Alerts of a time range are not delivered any more."""
        self._drop(lambda each: each.session == session and start_seconds <= each.time_seconds < end_seconds)

    def remove(self, alert: str) -> None:
        """Nothing of an alert is delivered any more."""
        self._drop(lambda each: each.alert == alert)
        self._tallies.pop(alert, None)

    def take_up(self, session: str) -> None:
        """Deliver what is on record of a session that is back."""
        for name, record in self._journal.records(_RECORD, session).items():
            self._waiting.setdefault(name, Delivery(name=name, **record))
        self._changed.set()

    def part(self, session: str) -> None:
        """A session goes on elsewhere, and its deliveries with it; one under way may be made there again."""
        self._waiting = {name: each for name, each in self._waiting.items() if each.session != session}

    def to_json(self, alert: str) -> dict[str, Any]:
        """How an alert's deliveries stand."""
        tally = self._tallies.get(alert, Tally())
        n_waiting = Counter(each.alert for each in self._waiting.values())[alert]
        return {"n_waiting": n_waiting, **asdict(tally)}

    async def run(self) -> None:
        """Deliver until cancelled."""
        pool = ThreadPoolExecutor(_AT_ONCE, "hermes-webhook")
        try:
            while True:
                self._changed.clear()
                for delivery in self._next():
                    self._tasks[delivery.name] = asyncio.create_task(self._deliver(delivery, pool))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._idle_seconds()):
                        await self._changed.wait()
        finally:
            await _end(list(self._tasks.values()))
            pool.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> list[Delivery]:
        """What is to be tried now: for each alert one at a time, the one due first."""
        busy = {self._waiting[name].alert for name in self._tasks if name in self._waiting}
        chosen: list[Delivery] = []
        for each in sorted(self._waiting.values(), key=lambda each: each.due_seconds):
            is_due = each.due_seconds <= time.time() and each.name not in self._tasks
            if is_due and each.alert not in busy and len(self._tasks) + len(chosen) < _AT_ONCE:
                busy.add(each.alert)
                chosen.append(each)
        return chosen

    def _idle_seconds(self) -> float | None:
        """Until something may be due; what is under way says so when it ends. None: for ever."""
        busy = {self._waiting[name].alert for name in self._tasks if name in self._waiting}
        coming = [each.due_seconds for each in self._waiting.values() if each.alert not in busy]
        if not coming or len(self._tasks) >= _AT_ONCE:
            return None
        return max(min(coming) - time.time(), 0.0)

    async def _deliver(self, delivery: Delivery, pool: ThreadPoolExecutor) -> None:
        """One try."""
        try:
            problem, is_final = await self._try(delivery, pool)
        finally:
            del self._tasks[delivery.name]
            self._changed.set()
        if delivery.name not in self._waiting:
            return
        if not problem:
            self._settle(delivery, "delivered")
        elif is_final or delivery.n_tries + 1 >= self._patience.n_tries:
            self._give_up(delivery, problem)
        else:
            self._try_later(delivery, problem)

    async def _try(self, delivery: Delivery, pool: ThreadPoolExecutor) -> tuple[str, bool]:
        """What is wrong, or nothing; and whether another try is of no use."""
        target = (self._journal.record("alert", delivery.alert) or {}).get("request", {}).get("webhook")
        if target is None:
            return "its standing question is gone", True
        body, now = delivery.body.encode(), int(time.time())
        headers = {
            "content-type": "application/json",
            "x-hermes-delivery": delivery.name,
            "user-agent": "hermes-stream",
        }
        if target["secret"] is not None:
            headers[SIGNATURE_HEADER] = signature(target["secret"], body, now)
        endpoint, seconds = read_endpoint(target["url"]), self._patience.timeout_seconds
        try:
            connection = await _made(pool.submit(self._connect, endpoint.host, endpoint.port, seconds))
            async with asyncio.timeout(seconds):
                return _judged(await post(connection, self._tls, endpoint, headers, body))
        except Forbidden as error:
            return str(error), True
        except OSError as error:  # TimeoutError is one
            return f"no answer ({str(error) or type(error).__name__})", False
        except Exception as error:  # of one delivery: the others go on
            _log.error("a delivery of alert %s failed", delivery.alert, exc_info=error)
            return "it could not be sent; the server's log says why", False

    def _try_later(self, delivery: Delivery, problem: str) -> None:
        n_tries = delivery.n_tries + 1
        wait_seconds = self._patience.wait_seconds(n_tries)
        self._note(delivery.alert).error = problem
        _log.info("webhook of alert %s: %s; tried again in %g s", delivery.alert, problem, wait_seconds)
        with self._journal.together():
            # The session may have been deleted meanwhile, and nothing of it may be written again.
            if self._journal.record(_RECORD, delivery.name) is None:
                del self._waiting[delivery.name]
            else:
                self._keep(replace(delivery, n_tries=n_tries, due_seconds=time.time() + wait_seconds))
        self._on_outcome(delivery, "retried")

    def _give_up(self, delivery: Delivery, problem: str) -> None:
        _log.warning("webhook of alert %s: hit %d is given up: %s", delivery.alert, delivery.hit, problem)
        self._note(delivery.alert).error = problem
        self._settle(delivery, "failed")

    def _settle(self, delivery: Delivery, outcome: Literal["delivered", "failed"]) -> None:
        tally = self._note(delivery.alert)
        if outcome == "delivered":
            tally.n_delivered += 1
        else:
            tally.n_failed += 1
        self._drop(lambda each: each.name == delivery.name)
        self._on_outcome(delivery, outcome)

    def _keep(self, delivery: Delivery) -> None:
        self._waiting[delivery.name] = delivery
        record = {name: value for name, value in asdict(delivery).items() if name != "name"}
        self._journal.put(_RECORD, delivery.name, delivery.session, record)

    def _drop(self, is_gone: Callable[[Delivery], bool]) -> None:
        for delivery in [each for each in self._waiting.values() if is_gone(each)]:
            del self._waiting[delivery.name]
            self._journal.remove(_RECORD, delivery.name)
        self._changed.set()

    def _note(self, alert: str) -> Tally:
        return self._tallies.setdefault(alert, Tally())


def _judged(status: int) -> tuple[str, bool]:
    """What is wrong with an answer, and whether another try is of no use."""
    if 200 <= status < 300:
        return "", True
    problem = f"it answered {status}"
    if 300 <= status < 400:
        return f"{problem}, and redirects are not followed", True
    return problem, status < 500 and status not in _PASSING_STATUSES


async def _made(connecting: Future[socket]) -> socket:
    """The connection; one that nobody waits for any more is closed."""
    try:
        return await asyncio.wrap_future(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_close)
        raise


def _close(connecting: Future[socket]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
