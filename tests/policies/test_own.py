"""Policies from a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_stream.errors import PolicyError
from hermes_stream.policies import POLICIES
from hermes_stream.policies.own import register_file
from hermes_stream.policies.spec import parse_memory

MINE = """
from __future__ import annotations
from typing import ClassVar
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.sliding_window import SlidingWindow

class Mine(SlidingWindow):
    '''Mine.'''

    name: ClassVar[str] = "mine"
    twice: bool = False
"""


def test_a_file_brings_its_policies_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "my_policies.py"
    path.write_text(MINE, encoding="utf-8")
    try:
        assert register_file(path) == ["mine"]
        assert str(parse_memory("mine(twice=true)", 64)) == "mine(budget=64, twice=true)"
        with pytest.raises(PolicyError, match="the name 'mine' is taken"):
            register_file(path)
    finally:
        POLICIES.pop("mine", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines no policy"),
        ("x = ", r"cannot be run: SyntaxError"),
        (MINE.replace('    name: ClassVar[str] = "mine"\n', "").replace("SlidingWindow)", "Policy)"), "cannot be run"),
        (MINE.replace('"mine"', '"hermes"'), "the name 'hermes' is taken"),
    ],
)
def test_files_that_cannot_work_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=message):
        register_file(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="is no Python file"):
        register_file(tmp_path / "none.py")
