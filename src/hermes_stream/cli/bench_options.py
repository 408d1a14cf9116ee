"""What the subcommands of `hermes-stream bench` share: options, lists of numbers, rows and files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cyclopts import Parameter

from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.cli.output import put_json, say
from hermes_stream.cli.profiling import check_can_trace, profiling
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.bench.machine import Machine
    from hermes_stream.models.adapter import Adapter


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BenchOptions(ModelOptions):
    """The model; speed does not depend on the values of its weights.

    Parameters
    ----------
    profile
        File for a trace of what runs when, as Chrome and Perfetto show it (.gz: compressed).
    """

    model: str = "random:llava-onevision-0.5b"
    profile: Path | None = None


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


def parse_memories(memory: str, budget: str | None) -> list[str]:
    """Policies between commas. Raises PolicyError or ConfigError for what cannot be, whatever the model is."""
    from hermes_stream.policies.spec import parse_memory, split_policies

    memories = split_policies(memory)
    for index, text in enumerate(memories):
        parse_memory(text, budget, bytes_per_token=1)
        if text in memories[:index]:
            raise ConfigError(f"--memory lists {text} twice; list it once")
    return memories


class Row(Protocol):
    """A row of a measurement."""

    def as_row(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Run:
    """What is measured, and where: both stand in every row for programs and in every file."""

    adapter: Adapter
    machine: Machine
    command: str
    profile: Path | None = None

    def profiled(self) -> AbstractContextManager[None]:
        """For what is measured: writes the trace, if one was asked for."""
        return profiling(self.profile)

    @property
    def model(self) -> dict[str, str]:
        facts = self.adapter.facts
        return {"model": facts.name, "dtype": str(facts.dtype).removeprefix("torch."), "device": str(facts.device)}

    def put_json(self, rows: Iterable[Row]) -> None:
        """One object per row on standard output."""
        for row in rows:
            put_json({**row.as_row(), **self.model, "machine": self.machine.as_row()})

    def save(self, out: Path, name: str, rows: Iterable[Row], **settings: Any) -> None:
        """Write `NAME.json` into the folder."""
        from hermes_stream.bench.results import write_results

        path = out / f"{name}.json"
        write_results(path, self.machine, self.command, {**self.model, **settings}, [row.as_row() for row in rows])
        say(f"{path} is written")


def begin(options: BenchOptions) -> Run:
    """Load the model and say which it is. Raises ConfigError for a device that cannot compute."""
    from hermes_stream.bench.machine import Machine
    from hermes_stream.bench.results import command_line

    if options.device == "meta":
        raise ConfigError("--device meta holds no numbers to compute with; it is for hermes-stream doctor")
    check_can_trace(options.profile)
    machine, adapter = Machine.here(), options.load_adapter()
    facts = adapter.facts
    say(f"model {facts.name}, {facts.n_parameters / 1e6:.1f} M parameters, {facts.device}, {facts.dtype}")
    return Run(adapter, machine, command_line("hermes-stream", sys.argv[1:]), options.profile)
