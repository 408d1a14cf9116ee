"""Official prompts, read from the user's own copy of a benchmark's repository; none of them is kept here."""

from __future__ import annotations

import ast
from pathlib import Path

from hermes_stream.errors import TaskError


def official_text(folder: Path, name: str) -> str:
    """A file of the copy. Raises TaskError where it is not there."""
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise TaskError(f"{folder} holds no {name}; --prompts names a copy of the benchmark's repository") from error


def fenced_block(text: str, containing: str, where: str) -> str:
    """The first block between ``` lines that holds some words. Raises TaskError where there is none."""
    blocks = text.split("```")[1::2]
    for block in blocks:
        if containing in block:
            return block.partition("\n")[2].rstrip("\n")
    raise TaskError(f"{where} has no block with {containing!r}; --prompts needs the repository as it was published")


def python_text(folder: Path, name: str, variable: str) -> str:
    """The text that a Python file of the copy assigns to a variable anywhere in it. Raises TaskError without one."""
    try:
        tree = ast.parse(official_text(folder, name))
    except SyntaxError as error:
        raise TaskError(
            f"{folder / name} is no Python ({error}); --prompts needs the repository as published"
        ) from error
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
            value = node.value  # type: ignore[attr-defined]
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    raise TaskError(f"{folder / name} gives no text to {variable}; --prompts needs the repository as published")
