"""What the README says can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hermes_stream.cli.main import run
from hermes_stream.shapestream import make_script, write_episode

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `talk.mp4` in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_episode(make_script(900_200, 20), tmp_path / "talk.mp4", fps=6, width=320, height=180)
    return tmp_path


def test_the_python_example_runs(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the bundled checkpoint in place of the 7B one, and at its own budget."""
    code, _ = blocks("python")
    assert "llava-hf/llava-onevision-qwen2-7b-ov-hf" in code
    code = code.replace("llava-hf/llava-onevision-qwen2-7b-ov-hf", "tiny-llava-onevision").replace("4096", "64")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_commands_for_files_run(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line for block in blocks("") for line in block.splitlines() if "hermes-stream ask" in line]
    assert commands
    for line in commands:
        assert run(shlex.split(line)[1:]) == 0, capsys.readouterr().err


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target
