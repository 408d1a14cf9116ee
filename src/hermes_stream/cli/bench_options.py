"""What the subcommands of `hermes-stream bench` share: options, lists of numbers, rows and files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.cli.output import say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.bench.machine import Machine
    from hermes_stream.models.adapter import Adapter


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BenchOptions(ModelOptions):
    """The model; speed does not depend on the values of its weights."""

    model: str = "random:llava-onevision-0.5b"


def check_counts(**counts: int) -> None:
    """Raise ConfigError for an option that is no positive number."""
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; give at least 1")


def parse_counts(option: str, text: str) -> list[int]:
    """Positive numbers between commas, each once, in rising order. Raises ConfigError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    bad = [part for part in parts if not part.isascii() or not part.isdecimal() or int(part) < 1]
    if bad:
        raise ConfigError(f"{option} {text!r}: {bad[0]!r} is no positive number; give numbers as in 16,64")
    if len(set(map(int, parts))) < len(parts):
        raise ConfigError(f"{option} {text!r} lists a number twice")
    return sorted(map(int, parts))


def say_model(adapter: Adapter) -> None:
    """Which model is measured, where and how precise."""
    facts = adapter.facts
    say(f"model {facts.name}, {facts.n_parameters / 1e6:.1f} M parameters, {facts.device}, {facts.dtype}")


def save_rows(
    out: Path, name: str, machine: Machine, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write `NAME.json` into the folder, with the command as it was typed."""
    from hermes_stream.bench.results import command_line, write_results

    path = out / f"{name}.json"
    say(str(write_results(path, machine, command_line("hermes-stream", sys.argv[1:]), settings, rows)))
