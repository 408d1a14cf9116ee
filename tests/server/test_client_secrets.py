"""Secrets for browsers: for whom they act, and how long."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from hermes_stream.server.access import client_secrets_api
from hermes_stream.server.access.client_secrets import ClientSecrets
from hermes_stream.server.access.keys import KeyRing, KeyStore, parse_api_key
from hermes_stream.server.problems import ApiError

from .gate_app import gate_app
from .running import running

_KEY = "a-key-of-24-characters.."


class Clock:
    seconds = 1000.7

    def __call__(self) -> float:
        return self.seconds


def test_a_secret_acts_for_its_owner_until_it_ends() -> None:
    clock = Clock()
    secrets = ClientSecrets(clock)
    value, expires_at = secrets.issue("camera", 600)
    assert expires_at == 1600
    assert secrets.owner(value) == "camera"
    clock.seconds = 1599.9
    assert secrets.owner(value) == "camera"
    clock.seconds = 1600.0
    assert secrets.owner(value) is None
    assert secrets.owner("ek_made_up") is None


def test_an_owner_cannot_have_ever_more_of_them_but_new_ones_when_old_ones_have_ended() -> None:
    clock = Clock()
    secrets = ClientSecrets(clock)
    for _ in range(1000):
        secrets.issue("camera", 10)
    with pytest.raises(ApiError, match="limit"):
        secrets.issue("camera", 10)
    secrets.issue("another", 10)
    clock.seconds += 11
    secrets.issue("camera", 10)
    assert len(secrets._issued) == 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ClientSecrets, KeyStore]]:
    """A server with one given key and a store, whose secrets go by the test's clock."""
    store = KeyStore(tmp_path_factory.mktemp("keys"))
    app = gate_app(KeyRing([parse_api_key(f"camera:{_KEY}")], store))
    app.state.server.client_secrets = secrets = ClientSecrets(clock)
    with running(app) as where:
        yield where, secrets, store


def status(where: str, secret: str, method: str = "GET", path: str = "/v1/sessions") -> int:
    return httpx2.request(method, f"http://{where}{path}", headers={"authorization": f"Bearer {secret}"}).status_code


def test_a_secret_opens_the_door_until_it_ends(place: tuple[str, ClientSecrets, KeyStore], clock: Clock) -> None:
    where, secrets, _ = place
    value, _ = secrets.issue("camera", 10)
    assert status(where, value) == 200
    clock.seconds += 10
    assert status(where, value) == 401


def test_a_secret_makes_no_secrets(place: tuple[str, ClientSecrets, KeyStore]) -> None:
    where, secrets, _ = place
    value, _ = secrets.issue("camera", 10)
    assert status(where, value, "POST", "/v1/realtime/client_secrets") == 401
    assert status(where, _KEY, "POST", "/v1/realtime/client_secrets") == 200
    assert client_secrets_api.router.routes[0].path == "/v1/realtime/client_secrets"  # type: ignore[attr-defined]


def test_a_secret_ends_with_its_owners_key(place: tuple[str, ClientSecrets, KeyStore]) -> None:
    where, secrets, store = place
    store.add("visitor")
    value, _ = secrets.issue("visitor", 600)
    assert status(where, value) == 200
    store.remove("visitor")
    assert status(where, value) == 401
