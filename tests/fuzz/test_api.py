"""Everything that the API's own description allows, and what it does not: schemathesis, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..server.conftest import RunningServer
from .conftest import SECONDS, Tries, a_fed_session

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]
# `make fuzz` puts it there: in an environment of its own, because it is a plug-in of pytest too.
_SCHEMATHESIS = Path(sys.prefix) / "schemathesis" / "bin" / "schemathesis"
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Endless by design; what ends the session that all else is tried on.
_LEFT_OUT = ("--exclude-path-regex", "/events$", "--exclude-method", "DELETE")


def test_api(server: RunningServer, tmp_path: Path, tries: Tries) -> None:
    with a_fed_session(server) as name:
        config = tmp_path / "schemathesis.toml"
        config.write_text(f'[parameters]\nsession_id = "{name}"\n', encoding="utf-8")
        done = subprocess.run(
            [
                str(_SCHEMATHESIS), "--config-file", str(config), "run", f"{server.address}/openapi.json",
                "--checks", _CHECKS, "--phases", "coverage,fuzzing", "--max-time", str(int(max(SECONDS, 60))),
                "--continue-on-failure", "--request-timeout", "30", "--seed", str(tries.seed), *_LEFT_OUT,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        for each in server.http.get("/v1/sessions").json()["data"]:
            if each["id"] != name:
                server.http.delete(f"/v1/sessions/{each['id']}")
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        generated = re.search(r"(\d+) generated", done.stdout)
        assert generated is not None, done.stdout[-2000:]
        tries.count["cases"] = int(generated[1])
        assert server.process.poll() is None
        assert server.http.get("/health").status_code == 200
