"""Webhooks: delivered, signed, tried again, given up; over restarts; never somewhere else."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.server.alerts.alert import AlertRequest, Webhook
from hermes_stream.server.alerts.webhook_post import read_endpoint, signature
from hermes_stream.server.alerts.webhooks import Connect, Delivery, Patience, Webhooks
from hermes_stream.server.problems import ApiError
from hermes_stream.server.pull.networks import Networks
from hermes_stream.server.state.journal import Journal
from tests.server.certificates import make_certificate
from tests.server.receiver import Received, documented_check, dripping, receiver

QUICK = Patience(timeout_seconds=5.0, first_wait_seconds=0.05, longest_wait_seconds=0.4, n_tries=4)
SECRET = "a secret of the receiver"
HERE = Networks(["127.0.0.0/8"])


def run(test: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test, 60)

    asyncio.run(limited())


def pose(journal: Journal, url: str, *, alert: str = "a", secret: str | None = SECRET) -> None:
    """The record of an alert that is told there."""
    request = AlertRequest(question="Is it so?", webhook=Webhook(url=url, secret=secret))
    journal.put("alert", alert, "session", {"request": request.model_dump()})


def delivery(hit: int = 1, alert: str = "a") -> Delivery:
    return Delivery("session", alert, hit, float(hit), json.dumps({"hit": hit, "question": "Läuft es?"}))


@asynccontextmanager
async def working(
    journal: Journal, *, connect: Connect = HERE.connect, patience: Patience = QUICK, **more: Any
) -> AsyncIterator[tuple[Webhooks, list[tuple[int, str]]]]:
    """Webhooks that are being delivered, and the outcome of each try."""
    outcomes: list[tuple[int, str]] = []
    webhooks = Webhooks(journal, connect, lambda each, how: outcomes.append((each.hit, how)), patience=patience, **more)
    task = asyncio.create_task(webhooks.run())
    try:
        yield webhooks, outcomes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


def test_a_delivery_comes_once_and_its_signature_is_what_the_documentation_checks() -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, f"{to.address}/hook?room=3")
        async with working(journal) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: outcomes == [(1, "delivered")])
            assert webhooks.to_json("a") == {"n_waiting": 0, "n_delivered": 1, "n_failed": 0, "error": ""}
        assert journal.records("webhook") == {}

    with receiver() as to:
        run(test())
    (request,) = to.received
    assert request.path == "/hook?room=3"
    assert json.loads(request.body) == {"hit": 1, "question": "Läuft es?"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == to.address.removeprefix("http://")
    check, header = documented_check(), request.headers["x-hermes-signature"]
    assert check(SECRET, header, request.body)
    assert not check("another secret", header, request.body)
    assert not check(SECRET, header, request.body + b" ")
    assert not check(SECRET, header.replace("t=", "t=9"), request.body)
    old = signature(SECRET, request.body, int(time.time()) - 3600)
    assert not check(SECRET, old, request.body)


def test_without_a_secret_nothing_is_signed() -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, to.address, secret=None)
        async with working(journal) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: outcomes == [(1, "delivered")])

    with receiver() as to:
        run(test())
    assert "x-hermes-signature" not in to.received[0].headers


def test_a_receiver_that_fails_first_gets_the_same_again_after_growing_waits() -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, to.address)
        async with working(journal) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: len(outcomes) == 4)
        assert outcomes == [(1, "retried")] * 3 + [(1, "delivered")]

    with receiver(503, 429, 500) as to:
        run(test())
    assert len({(each.headers["x-hermes-delivery"], each.body) for each in to.received}) == 1
    times = [each.at_seconds for each in to.received]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True))


def test_tries_end_some_time() -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, to.address)
        async with working(journal) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: (1, "failed") in outcomes)
            found = webhooks.to_json("a")
            assert found == {"n_waiting": 0, "n_delivered": 0, "n_failed": 1, "error": "it answered 500"}
        assert journal.records("webhook") == {}

    with receiver(*[500] * 9) as to:
        run(test())
    assert len(to.received) == QUICK.n_tries


@pytest.mark.parametrize(("status", "said"), [(400, "400"), (410, "410"), (302, "redirects are not followed")])
def test_what_another_try_would_not_change_is_given_up_at_once(status: int, said: str) -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, to.address)
        async with working(journal) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: bool(outcomes))
            assert outcomes == [(1, "failed")]
            assert said in webhooks.to_json("a")["error"]

    with receiver(status) as to:
        run(test())
    assert [each.path for each in to.received] == ["/"]


def test_what_waits_is_delivered_by_the_next_server(tmp_path: Path) -> None:
    """With as many tries as are left of it."""

    async def first() -> None:
        journal = Journal(tmp_path / "journal.sqlite")
        pose(journal, to.address)
        async with working(journal, patience=Patience(first_wait_seconds=0.3)) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: outcomes == [(1, "retried")])
        journal.close()

    async def second() -> None:
        journal = Journal(tmp_path / "journal.sqlite")
        async with working(journal) as (webhooks, outcomes):
            assert webhooks.to_json("a")["n_waiting"] == 1
            await until(lambda: bool(outcomes))
            assert outcomes == [(1, "delivered")]
        journal.close()

    with receiver(503) as to:
        run(first())
        run(second())
    assert len({each.headers["x-hermes-delivery"] for each in to.received}) == 1
    assert to.received[1].at_seconds - to.received[0].at_seconds >= 0.3


def test_a_receiver_that_does_not_come_to_an_end_holds_up_nobody_else() -> None:
    async def test() -> None:
        journal = Journal(None)
        for name, pieces in enumerate(drips):
            pose(journal, pieces, alert=f"slow-{name}")
        pose(journal, to.address)
        async with working(journal, patience=Patience(timeout_seconds=0.5, n_tries=1)) as (webhooks, outcomes):
            for name in range(len(drips)):
                webhooks.add(delivery(hit=100 + name, alert=f"slow-{name}"))
            webhooks.add(delivery())
            await until(lambda: len(outcomes) == 3)
            assert outcomes[0] == (1, "delivered")
            assert sorted(outcomes[1:]) == [(100, "failed"), (101, "failed")]

    endless = [b"HTTP/1.1 100 Continue\r\n\r\n"]
    with receiver() as to, dripping([b"H"], 0.05) as slow, dripping(endless, 0.01) as chatty:
        drips = [slow, chatty]
        run(test())


def test_one_receiver_is_told_one_thing_at_a_time() -> None:
    """In the order of the hits."""
    n_open, most_open = 0, 0

    def slowly(request: Received) -> int:
        nonlocal n_open, most_open
        n_open += 1
        most_open = max(most_open, n_open)
        time.sleep(0.05)
        n_open -= 1
        return take(request)

    async def test() -> None:
        journal = Journal(None)
        pose(journal, to.address)
        async with working(journal) as (webhooks, outcomes):
            for hit in (1, 2, 3, 4):
                webhooks.add(delivery(hit))
            await until(lambda: len(outcomes) == 4)
            assert outcomes == [(hit, "delivered") for hit in (1, 2, 3, 4)]

    with receiver() as to:
        take, to.take = to.take, slowly  # type: ignore[method-assign]
        run(test())
    assert most_open == 1


def test_addresses_that_are_not_public_are_never_connected_to() -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, to.address)
        async with working(journal, connect=Networks().connect) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: bool(outcomes))
            assert outcomes == [(1, "failed")]
            assert "not at a public address" in webhooks.to_json("a")["error"]

    with receiver() as to:
        run(test())
    assert to.received == []


@pytest.mark.parametrize(("name", "outcome"), [("hooks.example", "delivered"), ("other.example", "failed")])
def test_a_connection_to_a_judged_address_still_wants_the_hosts_certificate(
    tmp_path: Path, name: str, outcome: str
) -> None:
    """The name is resolved by the server's rules alone, and the certificate is that of the name."""
    path, theirs = make_certificate(tmp_path, name)
    asked: list[tuple[str, int]] = []

    def connect(host: str, port: int, seconds: float) -> socket.socket:
        asked.append((host, port))
        return socket.create_connection(("127.0.0.1", int(to.address.rpartition(":")[2])), seconds)

    async def test() -> None:
        journal = Journal(None)
        pose(journal, "https://hooks.example/hook")
        ours = ssl.create_default_context(cafile=str(path))
        patience = Patience(timeout_seconds=5, n_tries=1)
        async with working(journal, connect=connect, patience=patience, tls=ours) as (webhooks, outcomes):
            webhooks.add(delivery())
            await until(lambda: bool(outcomes))
            assert outcomes == [(1, outcome)]
            assert outcome == "delivered" or "certificate" in webhooks.to_json("a")["error"]

    with receiver(tls=theirs) as to:
        run(test())
    assert asked == [("hooks.example", 443)]
    assert [each.headers["host"] for each in to.received] == (["hooks.example"] if outcome == "delivered" else [])


def test_of_too_many_that_wait_the_oldest_are_given_up() -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, "https://hooks.example/hook")
        outcomes: list[tuple[int, str]] = []
        webhooks = Webhooks(journal, HERE.connect, lambda each, how: outcomes.append((each.hit, how)))
        for hit in range(1, 68):
            webhooks.add(delivery(hit))
        assert outcomes == [(1, "failed"), (2, "failed"), (3, "failed")]
        assert webhooks.to_json("a")["n_waiting"] == len(journal.records("webhook")) == 64

    run(test())


def test_what_is_forgotten_or_removed_is_not_delivered() -> None:
    async def test() -> None:
        journal = Journal(None)
        webhooks = Webhooks(journal, HERE.connect)
        for alert in ("a", "b"):
            pose(journal, to.address, alert=alert)
            for hit in (1, 2, 3):
                webhooks.add(delivery(hit, alert))
        webhooks.forget("session", 2.0, 3.0)
        webhooks.forget("another", 0.0, 9.0)
        webhooks.remove("b")
        waiting = sorted((each["alert"], each["hit"]) for each in journal.records("webhook").values())
        assert waiting == [("a", 1), ("a", 3)]

    with receiver() as to:
        run(test())


def test_a_session_that_is_deleted_while_its_webhook_fails_leaves_nothing() -> None:
    async def test() -> None:
        journal = Journal(None)
        pose(journal, to.address)
        async with working(journal) as (webhooks, outcomes):
            to.take = lambda _: journal.drop("session") or 500  # type: ignore[method-assign, assignment, func-returns-value]
            webhooks.add(delivery())
            await until(lambda: bool(outcomes))
            assert journal.records("webhook") == {}
            assert webhooks.to_json("a")["n_waiting"] == 0

    with receiver() as to:
        run(test())


def test_waits_double_up_to_the_longest() -> None:
    patience = Patience()
    waits = [patience.wait_seconds(n) for n in range(1, patience.n_tries)]
    assert waits[:4] == [1, 2, 4, 8]
    assert max(waits) == 300
    assert sum(waits) / 60 == pytest.approx(38.5, abs=1)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "no address"),
        ("hooks.example/hook", "no address"),
        ("ftp://hooks.example/", "no address that can be posted to"),
        ("https://", "no address"),
        ("http://hooks.example:99999/", "no address"),
        ("http://[::1/", "no address"),
        ("https://me:pass@hooks.example/", "password"),
    ],
)
def test_addresses_that_cannot_be_are_refused_and_not_repeated(url: str, message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        read_endpoint(url)
    assert "\n" not in str(caught.value)
    assert "pass@" not in str(caught.value)


def test_a_request_line_is_one_line_whatever_the_address_holds() -> None:
    endpoint = read_endpoint("https://hooks.example/a b\r\nx-evil: 1?ü=%20#part")
    assert endpoint.path == "/a%20b%0D%0Ax-evil:%201?%C3%BC=%20"
    assert endpoint.shown == "https://hooks.example/…"
    assert read_endpoint("http://[::1]:8080").shown == "http://[::1]:8080"
    assert read_endpoint("https://hooks.example:443/").shown == "https://hooks.example"


def test_secrets_are_in_no_representation() -> None:
    webhook = Webhook(url="https://hooks.example/services/T0KEN", secret=SECRET)
    request = AlertRequest(question="Is it so?", webhook=webhook)
    assert "T0KEN" not in repr(webhook) + repr(request) + str(request)
    assert SECRET not in repr(webhook) + repr(request) + str(request)
