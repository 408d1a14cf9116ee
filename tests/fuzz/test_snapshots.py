"""Changed snapshots: refused in one line, or taken up as a memory whose laws hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_stream import Engine, Hermes, Snapshot, load_model
from hermes_stream.errors import HermesError
from hermes_stream.memory.laws import check_version
from tests.tiny import make_frames

from ..server.conftest import RunningServer
from .conftest import Tries, a_fed_session
from .mutations import mutated

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with load_model("tiny-llava-onevision") as engine:
        yield engine


def test_snapshot(engine: Engine, tmp_path: Path, tries: Tries) -> None:
    session, path, said = engine.open(Hermes(budget=30), chunk=4), tmp_path / "a.safetensors", []
    session.watch(make_frames(9))
    session.snapshot().save(path)
    whole = path.read_bytes()
    for dice in tries:
        path.write_bytes(mutated(whole, dice))
        try:
            restored = engine.restore(Snapshot.load(path))
        except HermesError as error:
            said.append(str(error))
            tries.count["refused"] += 1
        else:
            check_version(restored.memory)
            restored.close()
            tries.count["taken"] += 1
        assert engine.stats.n_sessions == 1
    assert not [line for line in said if "\n" in line]


def test_snapshot_over_http(server: RunningServer, tries: Tries) -> None:
    with a_fed_session(server) as name:
        whole = server.http.get(f"/v1/sessions/{name}/snapshot").content
        for dice in tries:
            told = server.http.post("/v1/restore", content=mutated(whole, dice))
            if told.status_code == 201:
                server.http.delete(f"/v1/sessions/{told.json()['id']}")
                tries.count["taken"] += 1
                continue
            assert 400 <= told.status_code < 500, f"seed {tries.seed}: {told.status_code} {told.text}"
            assert "\n" not in told.json()["error"]["message"]
            tries.count["refused"] += 1
            assert [each["id"] for each in server.http.get("/v1/sessions").json()["data"]] == [name]
