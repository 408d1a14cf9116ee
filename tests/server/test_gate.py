"""Who gets in: keys, pages of other origins, DNS rebinding, browsers' WebSockets, large bodies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hermes_stream.server.access.keys import KeyRing, parse_api_key
from hermes_stream.server.settings import Limits

from .gate_app import gate_app
from .running import running

_KEY = "a-key-of-24-characters.."
_RIGHT = {"authorization": f"Bearer {_KEY}"}
_ELSEWHERE = "https://elsewhere.example"
_ALLOWED = "https://allowed.example"


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    """A server with a key."""
    ring = KeyRing([parse_api_key(f"camera:{_KEY}")])
    with running(
        gate_app(ring, origins=(_ALLOWED,), limits=Limits(max_body_bytes=1024, max_video_bytes=2048))
    ) as place:
        yield place


@pytest.fixture(scope="module")
def unlocked() -> Iterator[str]:
    """A server without one."""
    with running(gate_app(KeyRing())) as place:
        yield place


def first_message(place: str, path: str = "/v1/socket", **options: Any) -> tuple[dict[str, Any], str | None]:
    """What a WebSocket is told, and the protocol that was chosen."""
    with connect(f"ws://{place}{path}", **options) as client:
        return json.loads(client.recv()), client.subprotocol


def refused(place: str, **options: Any) -> tuple[int, dict[str, Any], Any]:
    """How a WebSocket's handshake is refused: status, error, headers."""
    with pytest.raises(InvalidStatus) as caught:
        first_message(place, **options)
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"], response.headers


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic abc"}, {"authorization": "Bearer"}])
def test_no_key_is_401_and_says_how(locked: str, headers: dict[str, str]) -> None:
    response = httpx2.get(f"http://{locked}/v1/sessions", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    error = response.json()["error"]
    assert error["code"] == "missing_api_key"
    assert error["type"] == "invalid_request_error"


def test_a_wrong_key_is_401(locked: str) -> None:
    response = httpx2.get(f"http://{locked}/v1/sessions", headers={"authorization": f"Bearer {_KEY}x"})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "www-authenticate" in response.headers


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_right_key_is_its_owner_and_is_not_handed_on(locked: str, scheme: str) -> None:
    response = httpx2.get(f"http://{locked}/v1/sessions", headers={"authorization": f"{scheme} {_KEY}"})
    assert response.json()["owner"] == "camera"
    assert _KEY not in response.text


@pytest.mark.parametrize("path", ["/", "/web/js/main.js", "/health", "/ready"])
def test_the_page_and_health_need_no_key(locked: str, path: str) -> None:
    assert httpx2.get(f"http://{locked}{path}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/metrics", "/web", "/webx", "/health/", "/v1/models", "//health", "/%2e/health"]
)
def test_everything_else_does(locked: str, path: str) -> None:
    assert httpx2.get(f"http://{locked}{path}").status_code == 401


def test_without_keys_what_clients_send_as_one_is_ignored(unlocked: str) -> None:
    for headers in ({}, {"authorization": "Bearer anything"}):
        response = httpx2.get(f"http://{unlocked}/v1/sessions", headers=headers)
        assert response.json()["owner"] == "anybody"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "127.8.8.8", "[::1]", "[::1]:80"])
def test_without_keys_local_hosts_are_served(unlocked: str, host: str) -> None:
    assert httpx2.get(f"http://{unlocked}/v1/sessions", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.1", "[::2]", "127.0.0.1.evil", "x"]
)
def test_without_keys_other_hosts_are_not_as_their_name_may_be_an_attackers(unlocked: str, host: str) -> None:
    response = httpx2.get(f"http://{unlocked}/v1/sessions", headers={"host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "host_not_allowed")


def test_with_keys_any_host_is_served(locked: str) -> None:
    headers = {**_RIGHT, "host": "cameras.example"}
    assert httpx2.get(f"http://{locked}/v1/sessions", headers=headers).status_code == 200


def test_a_page_elsewhere_may_not_post(unlocked: str, locked: str) -> None:
    for place, headers in ((unlocked, {}), (locked, _RIGHT)):
        response = httpx2.post(f"http://{place}/v1/sessions", headers={**headers, "origin": _ELSEWHERE})
        assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_a_page_elsewhere_may_not_open_a_websocket(unlocked: str, locked: str) -> None:
    assert refused(unlocked, origin=_ELSEWHERE)[:1] == (403,)
    assert refused(locked, origin="null", additional_headers=_RIGHT)[1]["code"] == "origin_not_allowed"


def test_a_page_elsewhere_may_not_get_with_cookies(locked: str) -> None:
    headers = {**_RIGHT, "origin": _ELSEWHERE, "cookie": "a=b"}
    assert httpx2.get(f"http://{locked}/v1/sessions", headers=headers).status_code == 403


def test_a_page_elsewhere_cannot_read_what_it_gets(unlocked: str) -> None:
    response = httpx2.get(f"http://{unlocked}/v1/sessions", headers={"origin": _ELSEWHERE})
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["cross-origin-resource-policy"] == "same-origin"


def test_our_own_page_may_do_everything(unlocked: str) -> None:
    own = f"http://{unlocked}"
    assert httpx2.post(f"{own}/v1/sessions", headers={"origin": own}).status_code == 200
    assert first_message(unlocked, origin=own)[0]["owner"] == "anybody"


def test_tls_may_end_before_the_server(locked: str) -> None:
    """A proxy hands the Host on; the browser's origin is https then, and the server sees http."""
    headers = {**_RIGHT, "host": "cameras.example", "origin": "https://cameras.example"}
    assert httpx2.post(f"http://{locked}/v1/sessions", headers=headers).status_code == 200


def test_an_allowed_page_is_told_that_it_is(locked: str) -> None:
    response = httpx2.post(f"http://{locked}/v1/sessions", headers={**_RIGHT, "origin": _ALLOWED})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == _ALLOWED
    assert "Origin" in response.headers["vary"]


def test_an_allowed_page_can_read_why_it_was_refused(locked: str) -> None:
    response = httpx2.post(f"http://{locked}/v1/sessions", headers={"origin": _ALLOWED})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == _ALLOWED


def test_a_preflight_needs_no_key_and_names_what_may_be_sent(locked: str) -> None:
    headers = {"origin": _ALLOWED, "access-control-request-method": "POST"}
    response = httpx2.options(f"http://{locked}/v1/sessions", headers=headers)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == _ALLOWED
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert "DELETE" in response.headers["access-control-allow-methods"]


def test_a_preflight_of_a_page_elsewhere_is_refused(locked: str) -> None:
    headers = {"origin": _ELSEWHERE, "access-control-request-method": "POST"}
    response = httpx2.options(f"http://{locked}/v1/sessions", headers=headers)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_a_websocket_without_a_key_is_refused_before_it_opens(locked: str) -> None:
    status, error, headers = refused(locked)
    assert (status, error["code"]) == (401, "missing_api_key")
    assert headers["www-authenticate"].startswith("Bearer")


def test_a_websocket_takes_the_key_in_a_header(locked: str) -> None:
    assert first_message(locked, additional_headers=_RIGHT)[0]["owner"] == "camera"


def test_a_browsers_websocket_takes_it_as_a_protocol(locked: str) -> None:
    told, chosen = first_message(locked, subprotocols=["realtime", f"openai-insecure-api-key.{_KEY}"])
    assert told == {"owner": "camera", "offered": ["realtime"]}
    assert chosen == "realtime"


def test_a_wrong_key_as_a_protocol_is_refused(locked: str) -> None:
    assert refused(locked, subprotocols=["realtime", f"openai-insecure-api-key.{_KEY}x"])[0] == 401


def test_a_key_as_a_protocol_of_http_is_none(locked: str) -> None:
    headers = {"sec-websocket-protocol": f"openai-insecure-api-key.{_KEY}"}
    assert httpx2.get(f"http://{locked}/v1/sessions", headers=headers).status_code == 401


def test_without_keys_browsers_may_still_send_one(unlocked: str) -> None:
    told, chosen = first_message(unlocked, subprotocols=["realtime", "openai-insecure-api-key.anything"])
    assert (told["owner"], chosen) == ("anybody", "realtime")


@pytest.mark.parametrize("is_told_before", [True, False])
def test_a_body_that_is_too_large_is_413(locked: str, is_told_before: bool) -> None:
    body = b"x" * 1025
    content = body if is_told_before else iter([body[:600], body[600:]])
    response = httpx2.post(f"http://{locked}/v1/count", headers=_RIGHT, content=content)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


def test_a_body_of_just_the_limit_is_read(locked: str) -> None:
    assert httpx2.post(f"http://{locked}/v1/count", headers=_RIGHT, content=b"x" * 1024).json() == 1024


def test_json_that_is_too_large_is_413_and_not_malformed(locked: str) -> None:
    body = json.dumps({"a": "x" * 2000}).encode()
    response = httpx2.post(
        f"http://{locked}/v1/parse", headers={**_RIGHT, "content-type": "application/json"}, content=iter([body])
    )
    assert response.status_code == 413


def test_requests_with_videos_may_be_larger(locked: str) -> None:
    assert httpx2.post(f"http://{locked}/v1/chat/completions", headers=_RIGHT, content=b"x" * 2048).status_code == 200
    assert httpx2.post(f"http://{locked}/v1/chat/completions", headers=_RIGHT, content=b"x" * 4096).status_code == 413


def test_guessing_is_slowed_down_and_right_keys_are_not() -> None:
    """Of an address that shows wrong keys in parallel no more than a few a second are looked at."""
    with running(gate_app(KeyRing([parse_api_key(f"camera:{_KEY}")]))) as place:
        url = f"http://{place}/v1/sessions"

        def guess(number: int) -> int:
            return httpx2.get(url, headers={"authorization": f"Bearer wrong-{number}"}, timeout=30).status_code

        assert [guess(number) for number in range(4)] == [401] * 4
        began = time.monotonic()
        with ThreadPoolExecutor(12) as pool:
            statuses = list(pool.map(guess, range(24)))
        seconds = time.monotonic() - began
        n_looked_at = statuses.count(401)
        assert set(statuses) == {401, 429}
        assert n_looked_at <= 4 + 4 * seconds / 0.25
        began = time.monotonic()
        assert httpx2.get(url, headers=_RIGHT).status_code == 200
        assert time.monotonic() - began < 0.25
