"""Numbers with their command, commit and machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hermes_stream.bench.machine import Machine
from hermes_stream.bench.results import command_line, write_results

RESULTS = Path(__file__).parent / "results"
# Of the code that runs: a run may be long, and the working tree may move on meanwhile.
_MACHINE = Machine.here()


def save(name: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON beside everything that is needed to get them again."""
    return write_results(RESULTS / f"{name}.json", _MACHINE, command_line("python", sys.argv), settings, rows)
