"""The example in the documents, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from hermes_stream.shapestream import render_frame

from .conftest import RunningServer
from .openai_clients import client_of, show
from .shape_clips import SECONDS, clip

DOCUMENT = Path(__file__).parents[2] / "docs" / "server.md"


# openai 3.57 opens websockets in a way of which these warn.
@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
def test_the_example_for_openais_client_runs(
    server: RunningServer,
    session: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [code] = [
        found for found in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "OpenAI" in found
    ]
    (tmp_path / "clip.mp4").write_bytes(clip().mp4)
    Image.fromarray(render_frame(clip().script, SECONDS - 1.0, 320, 180)).save(tmp_path / "frame.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    with client_of(server.address) as client:
        show(client, session, clip().picture_uris)
    code = code.replace("http://127.0.0.1:8000", server.address).replace('"..."', repr(session))
    exec(compile(code, "server.md", "exec"), {})
    first, second, third = capsys.readouterr().out.splitlines()
    assert (first.split(" ")[:2], second, third) == (["yellow", "triangle"], "yellow triangle", "yellow")
