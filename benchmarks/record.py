"""Numbers with their command, commit and machine."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def save(name: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON beside everything that is needed to get them again."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    content = {
        "command": " ".join(["python", *(_relative(argument) for argument in sys.argv)]),
        "commit": _COMMIT,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        "settings": dict(settings),
        "rows": list(rows),
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def _relative(argument: str) -> str:
    """Files of the project by their place in it, wherever the command was started."""
    path, root = Path(argument).resolve(), Path(__file__).parent.parent
    return str(path.relative_to(root)) if path.is_file() and path.is_relative_to(root) else argument


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


# Of the code that runs: a run may be long, and the working tree may move on meanwhile.
_COMMIT = _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain", "src") else "")
