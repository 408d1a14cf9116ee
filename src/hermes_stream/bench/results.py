"""Files of measurements: rows beside the command, the machine and the settings that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hermes_stream.bench.machine import Machine
from hermes_stream.errors import ConfigError


def write_results(
    path: Path, machine: Machine, command: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Path:
    """Rows as JSON, beside all that is needed to get them again; makes the folder. Returns the path."""
    content = {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.as_row(),
        "settings": dict(settings),
        "rows": list(rows),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def read_results(path: Path) -> dict[str, Any]:
    """What `write_results` wrote. Raises ConfigError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as JSON; give a file that hermes-stream bench --out wrote") from error
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list):
        raise ConfigError(f"{path}: holds no rows; give a file that hermes-stream bench --out wrote")
    return content


def command_line(program: str, arguments: Sequence[str]) -> str:
    """A command as it can be typed elsewhere: files and folders below the current one by their place in it."""
    return " ".join([program, *(_relative(argument) for argument in arguments)])


def _relative(argument: str) -> str:
    path, root = Path(argument), Path.cwd()
    return str(path.relative_to(root)) if path.is_absolute() and path.is_relative_to(root) else argument
