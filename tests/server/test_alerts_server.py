"""Standing questions of a real server, over HTTP: asked for, told, delivered; killed and taken up again."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.server.conftest import RunningServer, server_process
from tests.server.receiver import documented_check, receiver

_PATIENCE_SECONDS = 60
# Whatever the model thinks, it is a hit from the first look on, and never falls.
ALWAYS = {"question": "Is anything visible?", "threshold": 1e-9}


def wait_for(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not (result := found()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return result


@contextmanager
def events_of(server: RunningServer, session: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """What a session tells from now on: kinds and data."""
    with server.client() as client, client.stream("GET", f"/v1/sessions/{session}/events") as response:
        yield parsed(response)


def parsed(response: httpx2.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def test_a_question_is_posed_seen_and_taken_back(server: RunningServer, session: str) -> None:
    with server.client() as client:
        path = f"/v1/sessions/{session}/alerts"
        posed = client.post(path, json={"question": "Is a dog visible?", "hold_s": 2, "name": "dog"})
        assert posed.status_code == 201
        alert = posed.json()
        assert (alert["choices"], alert["threshold"], alert["every"]) == (["yes", "no"], 0.5, 4)
        assert (alert["probability"], alert["n_looks"], alert["webhook"]) == (None, 0, None)
        assert client.get(path).json() == {"object": "list", "data": [alert]}
        assert client.get(f"{path}/{alert['id']}").json() == {**alert, "looks": [], "hits": []}
        assert client.get(f"{path}/{alert['id']}/hits/1/picture").status_code == 404
        assert client.delete(f"{path}/{alert['id']}").status_code == 204
        assert client.delete(f"{path}/{alert['id']}").status_code == 404
        assert client.get(path).json()["data"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "question: Field required"),
        ({"question": "  "}, "expected what you want to know"),
        ({"question": "x", "choices": ["yes"]}, "2 to 26 different answers"),
        ({"question": "x", "choices": ["red", "reddish"]}, "'red' and 'reddish' begin with the same token"),
        ({"question": "x", "threshold": 0}, "threshold: Input should be greater than 0"),
        ({"question": "x", "threshold": 1}, "threshold: Input should be less than 1"),
        ({"question": "x", "hold_s": -1}, "hold_s:"),
        ({"question": "x", "every": 0}, "every:"),
        ({"question": "x", "evry": 1}, "evry: Extra inputs are not permitted"),
        ({"question": "word " * 5000}, "ask a shorter one"),
        ({"question": "x", "webhook": {"url": "http://127.0.0.1:1/"}}, "not at a public address"),
        ({"question": "x", "webhook": {"url": "http://169.254.169.254/latest"}}, "not at a public address"),
        ({"question": "x", "webhook": {"url": "https://u:S3CRET@a.example/"}}, "holds a password"),
        ({"question": "x", "webhook": {"url": "https://a.example/", "secret": "S3CRET"}}, "at least 8 characters"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    server: RunningServer, session: str, body: dict[str, Any], message: str
) -> None:
    with server.client() as client:
        refused = client.post(f"/v1/sessions/{session}/alerts", json=body)
        assert refused.status_code == 400
        said = refused.json()["error"]["message"]
        assert message in said
        assert "\n" not in said
        assert "S3CRET" not in refused.text
        assert client.get(f"/v1/sessions/{session}/alerts").json()["data"] == []


def test_more_questions_than_the_limit_are_refused(server: RunningServer, session: str) -> None:
    with server.client() as client:
        posed = [client.post(f"/v1/sessions/{session}/alerts", json={"question": "x"}) for _ in range(17)]
        assert [answer.status_code for answer in posed] == [201] * 16 + [429]
        assert "16 standing questions, its limit" in posed[-1].json()["error"]["message"]


@pytest.mark.slow
def test_a_server_that_is_killed_tells_what_it_had_to_tell_and_nothing_twice(tmp_path: Path) -> None:
    """The receiver fails as long as the first server lives."""
    options = ("--state-dir", tmp_path, "--save-seconds", "0.5", "--allow-network", "127.0.0.0/8")
    with receiver(*[503] * 99) as to:
        with server_process(*options) as server, server.client() as client:
            spec = {"source": "shapestream:900200", "fps": 4, "memory": "sliding-window"}
            session = client.post("/v1/sessions", json=spec).json()["id"]
            path = f"/v1/sessions/{session}/alerts"
            with events_of(server, session) as events:
                webhook = {"url": f"{to.address}/hook", "secret": "a secret"}
                alert = client.post(path, json={**ALWAYS, "webhook": webhook}).json()["id"]
                told = next(data for kind, data in events if kind == "alert")
            picture = client.get(told["picture"])
            assert picture.headers["content-type"] == "image/jpeg"
            assert float(picture.headers["x-time-s"]) == pytest.approx(told["time_s"], abs=1e-3)
            assert Image.open(io.BytesIO(picture.content)).size == (640, 360)
            wait_for(lambda: client.get(f"{path}/{alert}").json()["n_looks"] >= 3)
            to.wait_for(1)
            time.sleep(1)
            server.process.kill()
            server.process.wait()
        to.statuses.clear()
        with server_process(*options) as server, server.client() as client:
            found = client.get(f"{path}/{alert}").json()
            assert (found["n_hits"], found["is_armed"], found["hits"]) == (1, False, [told])
            assert client.get(told["picture"]).content == picture.content
            wait_for(lambda: client.get(f"{path}/{alert}").json()["webhook"]["n_delivered"] == 1)
            n_looks = found["n_looks"]
            wait_for(lambda: client.get(f"{path}/{alert}").json()["n_looks"] >= n_looks + 3)
            found = client.get(f"{path}/{alert}").json()
            assert (found["n_hits"], len(found["hits"])) == (1, 1)
            gaps = client.get(f"/v1/sessions/{session}").json()["gaps"]
            assert any(gap["end_s"] > told["time_s"] for gap in gaps)
            everything = json.dumps(found) + "".join(server.said)
            assert "a secret" not in everything
            assert "/hook" not in everything
    assert len({(request.headers["x-hermes-delivery"], request.body) for request in to.received}) == 1
    newest = to.received[-1]
    assert documented_check()("a secret", newest.headers["x-hermes-signature"], newest.body)
    assert json.loads(newest.body) == {"type": "alert", "session": session, **told}
