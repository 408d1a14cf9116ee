"""Official prompts, read from the user's own copy of a benchmark's repository; none of them is kept here."""

from __future__ import annotations

import ast
import json
from functools import lru_cache
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
    for node in _nodes(official_text(folder, name), folder / name):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
            value = node.value  # type: ignore[attr-defined]
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    raise TaskError(f"{folder / name} gives no text to {variable}; --prompts needs the repository as published")


def python_constant(folder: Path, name: str, containing: str) -> str:
    """The first text in a Python file of the copy that holds some words. Raises TaskError without one."""
    for node in _nodes(official_text(folder, name), folder / name):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and containing in node.value:
            return node.value
    raise TaskError(f"{folder / name} has no text with {containing!r}; --prompts needs the repository as published")


def call_texts(folder: Path, name: str, function: str) -> dict[str, str]:
    """The text arguments, by name, of the last call of a function in a Python file or notebook of the copy.

    Raises TaskError where it is not called.
    """
    nodes = _nodes(official_text(folder, name), folder / name)
    calls = [node for node in nodes if isinstance(node, ast.Call) and _is_named(node.func, function)]
    if not calls:
        raise TaskError(f"{folder / name} never calls {function}; --prompts needs the repository as published")
    keywords = max(calls, key=lambda call: call.lineno).keywords
    return {
        keyword.arg: keyword.value.value
        for keyword in keywords
        if keyword.arg and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _code_of_notebook(text: str) -> str:
    """Its cells of code without lines that only a notebook understands."""
    try:
        cells = json.loads(text)["cells"]
        lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").splitlines()
    except (ValueError, LookupError, TypeError):
        return text
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


@lru_cache(maxsize=4)
def _nodes(text: str, path: Path) -> tuple[ast.AST, ...]:
    """All that a Python file or notebook is made of. Kept, as each question of a benchmark asks anew."""
    try:
        return tuple(ast.walk(ast.parse(_code_of_notebook(text) if path.suffix == ".ipynb" else text)))
    except SyntaxError as error:
        raise TaskError(f"{path} is no Python ({error}); --prompts needs the repository as published") from error
