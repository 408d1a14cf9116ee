"""What the subcommands of `hermes-stream eval` share: who is judged, and on which episodes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.cli.output import say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.evals.lineup import Lineup


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JudgedOptions(ModelOptions):
    """Who is judged, and on which episodes.

    Parameters
    ----------
    model
        As everywhere; several separated by commas. All are loaded at once.
    memory
        Policies with options, separated by commas.
    budget
        Tokens per layer, or bytes as in 16MiB; several separated by commas. Default: a quarter of what all frames make.
    seed
        Of the first episode. From 900000 on nothing was trained on them; below are the seeds of training.
    episodes
        How many; intervals need at least 2, and mean something from about 10 on.
    seconds
        Length of an episode.
    policy_file
        A Python file with policies of yours, which --memory may then name.
    """

    memory: str = "keep-all,hermes,sliding-window,uniform,random,recent-frames"
    budget: str | None = None
    seed: int = 900_000
    episodes: int = 10
    seconds: float = 64
    policy_file: Path | None = None

    @property
    def models(self) -> list[str]:
        return split_list("--model", self.model)

    @property
    def budgets(self) -> list[str | int] | None:
        if self.budget is None:
            return None
        return [int(part) if part.isdecimal() else part for part in split_list("--budget", self.budget)]

    def check(self) -> range:
        """The seeds. Raises ConfigError or PolicyError for what is wrong whatever the model is: none is loaded yet."""
        from hermes_stream.evals.episodes import check_lengths, episode_seeds
        from hermes_stream.evals.lineup import make_entries
        from hermes_stream.policies.own import register_file
        from hermes_stream.policies.spec import split_policies

        if self.policy_file is not None:
            register_file(self.policy_file)
        if self.device == "meta":
            raise ConfigError("--device meta holds no numbers to answer with; it is for hermes-stream doctor")
        make_entries(split_policies(self.memory), self.budgets or [1])
        check_lengths(self.seconds, 1, ())
        return episode_seeds(self.seed, self.episodes)

    def line_up(self, stack: ExitStack) -> list[Lineup]:
        """Every model with its memories, each tried once: nothing is rendered if one cannot work."""
        from hermes_stream.evals.lineup import Lineup, make_entries, quarter_of_keep_all
        from hermes_stream.policies.spec import split_policies

        memories = split_policies(self.memory)
        lineups = []
        for model in self.models:
            lineup = stack.enter_context(Lineup(replace(self, model=model).load_adapter()))
            budgets = self.budgets or [quarter_of_keep_all(lineup.engine, self.seconds)]
            lineup.enter(make_entries(memories, budgets), self.seconds)
            lineups.append(lineup)
        return lineups

    def say_settings(self, lineups: Sequence[Lineup], n_questions: int) -> None:
        """One line for people. n_questions: to each memory."""
        from hermes_stream.evals.episodes import are_held_back

        seeds = range(self.seed, self.seed + self.episodes)
        n_entries = sum(len(lineup.entries) for lineup in lineups)
        where = "held back" if are_held_back(seeds) else "of the training range: models may have seen them"
        say(
            f"{n_entries} memories, {n_questions} questions each; {len(seeds)} episodes of {self.seconds:g} s, "
            f"seeds {seeds.start} to {seeds.stop - 1}, {where}"
        )


def split_list(option: str, text: str) -> list[str]:
    """Entries between commas. Raises ConfigError for an empty or a repeated one."""
    entries = [part.strip() for part in text.split(",")]
    if "" in entries:
        raise ConfigError(f"an empty entry in {option} {text!r}")
    if len(set(entries)) < len(entries):
        raise ConfigError(f"{option} {text!r} lists something twice")
    return entries
