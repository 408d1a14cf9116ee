"""The options of `hermes-stream eval BENCHMARK`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hermes_stream.cli.eval_options import split_list
from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.defaults import DEFAULT_MEMORY
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.evals.lineup import Entry, Lineup
    from hermes_stream.evals.task import Setting

# Without these rows nobody knows what a memory adds to the newest frames, to frames spread over the video, to guessing.
REFERENCES = (
    "recent-frames(frames=1)",
    "recent-frames(frames=2)",
    "recent-frames(frames=4)",
    "recent-frames(frames=8)",
    "uniform-frames(frames=64)",
    "uniform-frames(frames=0)",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(ModelOptions):
    """Who is judged, on which data, and how questions are put.

    Parameters
    ----------
    data
        The folder that holds the benchmark as it was published, or its hub id; see hermes-stream eval --list.
    memory
        Policies with options, separated by commas. The others are compared with the first.
    budget
        Tokens per layer, or bytes as in 16MiB; several separated by commas. Default: the model's.
    references
        Also judge recent-frames of 1, 2, 4 and 8 frames, 64 frames at even distances, and none.
    fps
        Frames a second to look at. Default: the model's.
    splits
        Parts of the benchmark, separated by commas. Default: all.
    protocol
        official: asked as the published runner asks, its leaks included. strict: nothing later than the question.
    prompts
        Your copy of the benchmark's repository, whose wording is then used.
    context_seconds
        Watch only so much of a video before each question that comes during it. Default: all of it.
    logits
        Also ask how probable each option is.
    seed
        Of shuffled options and of policies that draw.
    max_new_tokens
        Of an answer. Default: the benchmark's.
    repetition_penalty
        Over new tokens; 1 is off.
    wall_clock
        Frames come by the clock, late ones are dropped, questions come at their time; one memory after the other.
    speed
        Of that clock: 2 shows a video in half its time.
    policy_file
        A Python file with policies of yours, which --memory may then name.
    """

    data: Path | None = None
    memory: str = DEFAULT_MEMORY
    budget: str | None = None
    references: bool = True
    fps: float | None = None
    splits: str | None = None
    protocol: Literal["strict", "official"] = "strict"
    prompts: Path | None = None
    context_seconds: float | None = None
    logits: Annotated[bool, Parameter(negative="")] = False
    seed: int = 0
    max_new_tokens: int | None = None
    repetition_penalty: float = 1.0
    wall_clock: Annotated[bool, Parameter(negative="")] = False
    speed: float = 1.0
    policy_file: Path | None = None

    def check(self) -> None:
        """Raise ConfigError or PolicyError for what is wrong whatever the model is."""
        from hermes_stream.evals.lineup import make_entries
        from hermes_stream.policies.own import register_file

        if self.policy_file is not None:
            register_file(self.policy_file)
        if self.device == "meta":
            raise ConfigError("--device meta holds no numbers to answer with; it is for hermes-stream doctor")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"--fps is {self.fps}; give a number above 0")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(f"--max-new-tokens is {self.max_new_tokens}; give at least 1")
        if not (math.isfinite(self.speed) and self.speed > 0) or (self.speed != 1 and not self.wall_clock):
            raise ConfigError(f"--speed is {self.speed}; give a number above 0, and --wall-clock with it")
        make_entries(self.memories, self._budgets or [1])

    @property
    def memories(self) -> list[str]:
        """Those that were named, and the references that were not."""
        from hermes_stream.policies.spec import split_policies

        named = split_policies(self.memory)
        return named + [each for each in REFERENCES if self.references and each not in named]

    @property
    def setting(self) -> Setting:
        from hermes_stream.evals.task import Setting

        return Setting(
            protocol=self.protocol,
            splits=() if self.splits is None else tuple(split_list("--splits", self.splits)),
            prompts=self.prompts,
            seed=self.seed,
            max_new_tokens=self.max_new_tokens,
            context_seconds=self.context_seconds,
            repetition_penalty=self.repetition_penalty,
        )

    def entries(self, lineup: Lineup) -> list[Entry]:
        """The memories at the budgets, by default the one that suits the model."""
        from hermes_stream.evals.lineup import make_entries

        return make_entries(self.memories, self._budgets or [lineup.engine.defaults.budget_tokens])

    def as_arguments(self) -> list[str]:
        """The same options as they are typed."""
        given = {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }
        return typed(given)

    @property
    def _budgets(self) -> list[str | int] | None:
        if self.budget is None:
            return None
        return [int(part) if part.isdecimal() else part for part in split_list("--budget", self.budget)]


def typed(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line has them."""
    words: list[str] = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return words
