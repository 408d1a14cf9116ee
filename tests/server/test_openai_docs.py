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

PROJECT = Path(__file__).parents[2]
DOCUMENT, README = PROJECT / "docs" / "server.md", PROJECT / "README.md"


def example(document: Path, about: str) -> str:
    """The only Python in a document with this word in it."""
    [code] = [found for found in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL) if about in found]
    return code


# openai 3.57 opens websockets in a way of which these warn.
@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
def test_the_example_for_openais_client_runs(
    server: RunningServer,
    session: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = example(DOCUMENT, "OpenAI")
    (tmp_path / "clip.mp4").write_bytes(clip().mp4)
    Image.fromarray(render_frame(clip().script, SECONDS - 1.0, 320, 180)).save(tmp_path / "frame.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    with client_of(server.address) as client:
        show(client, session, clip().picture_uris)
    code = code.replace("http://127.0.0.1:8000", server.address).replace('"..."', repr(session))
    exec(compile(code, "server.md", "exec"), {})
    first, second, third = capsys.readouterr().out.splitlines()
    assert (first.split(" ")[:2], second, third) == (["yellow", "triangle"], "yellow triangle", "yellow")


def test_the_readmes_example_for_openais_client_runs(server: RunningServer, session: str) -> None:
    with client_of(server.address) as client:
        show(client, session, clip().picture_uris)
    code = example(README, "openai").replace("http://127.0.0.1:8000", server.address)
    names = {"session_id": session}
    exec(compile(f"import openai\n{code}\nsaid = done.choices[0].message.content", "README.md", "exec"), names)
    assert names["said"] == "yellow triangle"
