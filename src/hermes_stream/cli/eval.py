"""`hermes-stream eval`: memory policies judged at equal budgets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.cli.output import each_note_once, progress_bar, say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.evals.episodes import Episode
    from hermes_stream.evals.lineup import Lineup

evaluation = App(name="eval", help="Judge memory policies by how well questions are answered from what they keep.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvalOptions(ModelOptions):
    """Who is judged, and on what.

    Parameters
    ----------
    model
        As everywhere; several separated by commas. All are loaded at once.
    memory
        Policies with options, separated by commas. The others are compared with the first.
    budget
        Tokens per layer, or bytes as in 16MiB; several separated by commas. Default: a quarter of what all frames make.
    seed
        Of the first episode. From 900000 on nothing was trained on them; below are the seeds of training.
    episodes
        How many; intervals need at least 2, and mean something from about 10 on.
    seconds
        Length of an episode.
    every
        Seconds between questions.
    regimes
        Which questions: real-time, backward, forward.
    policy_file
        A Python file with policies of yours, which --memory may then name.
    """

    memory: str = "keep-all,hermes,sliding-window,uniform,random,recent-frames"
    budget: str | None = None
    seed: int = 900_000
    episodes: int = 10
    seconds: float = 64
    every: float = 0.5
    regimes: str = "real-time,backward,forward"
    policy_file: Path | None = None

    @property
    def models(self) -> list[str]:
        return split_list("--model", self.model)

    @property
    def settings(self) -> dict[str, Any]:
        """What runs must share to be joined."""
        regimes = split_list("--regimes", self.regimes)
        return {"seconds": self.seconds, "every_s": self.every, "regimes": regimes}

    @property
    def budgets(self) -> list[str | int] | None:
        if self.budget is None:
            return None
        return [int(part) if part.isdecimal() else part for part in split_list("--budget", self.budget)]


@evaluation.command
def shapestream(
    *,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[EvalOptions | None, Parameter(name="*")] = None,
) -> None:
    """Ask about ShapeStream episodes, read from real video files, and count right answers: policies x budgets x models.

    All memories of a model watch side by side; every question is asked at its time. See docs/evals.md for the columns.

    Parameters
    ----------
    out
        A folder for results.jsonl, figures as PNG, and answers.jsonl: every answer, for `eval report`.
    json
        Print one JSON object per policy, budget and model.
    """
    from hermes_stream.cli.eval_output import RunListener, put_rows
    from hermes_stream.cli.map_recorder import check_can_draw
    from hermes_stream.evals.answer_log import AnswerLog
    from hermes_stream.evals.report import report
    from hermes_stream.evals.run import evaluate

    options = options or EvalOptions()
    seeds = _check(options)
    if out is not None:
        check_can_draw(out)
    with ExitStack() as stack:
        stack.enter_context(each_note_once())
        lineups = _line_up(options, stack)
        episodes = _episodes(options, seeds, lineups)
        n_questions = sum(len(episode.questions) for episode in episodes)
        _say_settings(options, seeds, lineups, n_questions)
        log = None if out is None else AnswerLog(out)
        if log is not None:
            for lineup in lineups:
                log.begin(lineup, options.settings)
        with progress_bar() as progress:
            records = evaluate(lineups, episodes, listener=RunListener(progress, n_questions * len(lineups), log))
        rows = report(lineups, records, len(episodes))
    put_rows(
        [{**row, "first_seed": options.seed, **_row_settings(options.settings)} for row in rows], json=json, out=out
    )


@evaluation.command(name="report")
def report_again(
    *runs: Path,
    memory: str | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Tables and figures of runs that `--out` saved, also of several together: more episodes, memories or models.

    Parameters
    ----------
    runs
        Folders that `eval shapestream --out` wrote, of runs with the same settings; they may still be running.
    memory
        Only these of the runs' memories, separated by commas.
    out
        A folder for results.jsonl and figures, as PNG.
    json
        Print one JSON object per policy, budget and model.
    """
    from hermes_stream.cli.eval_output import put_rows
    from hermes_stream.cli.map_recorder import check_can_draw
    from hermes_stream.evals.answer_log import read_answers
    from hermes_stream.evals.report import report
    from hermes_stream.policies.spec import split_policies

    if not runs:
        raise ConfigError("no run was given; name folders that `eval shapestream --out` wrote")
    if out is not None:
        check_can_draw(out)
    rows = []
    wanted = None if memory is None else split_policies(memory)
    for model in read_answers(runs):
        settings = {"first_seed": model.seeds[0], **_row_settings(model.settings)}
        rows += [{**row, **settings} for row in report([model], [model.records()], len(model.seeds))]
    if wanted is not None:
        if missing := [name for name in wanted if name not in {row["policy"] for row in rows}]:
            raise ConfigError(f"no run has {missing[0]!r}; name memories as its table does")
        rows = [row for row in rows if row["policy"] in wanted]
    put_rows(rows, json=json, out=out)


def split_list(option: str, text: str) -> list[str]:
    """Entries between commas. Raises ConfigError for an empty or a repeated one."""
    entries = [part.strip() for part in text.split(",")]
    if "" in entries:
        raise ConfigError(f"an empty entry in {option} {text!r}")
    if len(set(entries)) < len(entries):
        raise ConfigError(f"{option} {text!r} lists something twice")
    return entries


def _check(options: EvalOptions) -> range:
    """What is wrong whatever the model is, before one is loaded; the seeds."""
    from hermes_stream.evals.episodes import check_lengths, episode_seeds
    from hermes_stream.evals.lineup import make_entries
    from hermes_stream.policies.own import register_file
    from hermes_stream.policies.spec import split_policies

    if options.policy_file is not None:
        register_file(options.policy_file)
    if options.device == "meta":
        raise ConfigError("--device meta holds no numbers to answer with; it is for hermes-stream doctor")
    make_entries(split_policies(options.memory), options.budgets or [1])
    check_lengths(options.seconds, options.every, split_list("--regimes", options.regimes))
    return episode_seeds(options.seed, options.episodes)


def _line_up(options: EvalOptions, stack: ExitStack) -> list[Lineup]:
    """Every model with its memories, each tried once: nothing is rendered if one cannot work."""
    from hermes_stream.evals.lineup import Lineup, make_entries, quarter_of_keep_all
    from hermes_stream.policies.spec import split_policies

    memories = split_policies(options.memory)
    lineups = []
    for model in options.models:
        lineup = stack.enter_context(Lineup(replace(options, model=model).load_adapter()))
        budgets = options.budgets or [quarter_of_keep_all(lineup.engine, options.seconds)]
        lineup.enter(make_entries(memories, budgets), options.seconds)
        lineups.append(lineup)
    return lineups


def _episodes(options: EvalOptions, seeds: range, lineups: Sequence[Lineup]) -> list[Episode]:
    from hermes_stream.evals.episodes import make_episodes

    return make_episodes(
        seeds,
        seconds=options.seconds,
        fps=min(lineup.fps for lineup in lineups),
        every_seconds=options.every,
        regimes=split_list("--regimes", options.regimes),
    )


def _say_settings(options: EvalOptions, seeds: range, lineups: Sequence[Lineup], n_questions: int) -> None:
    from hermes_stream.evals.episodes import are_held_back

    n_entries = sum(len(lineup.entries) for lineup in lineups)
    where = "held back" if are_held_back(seeds) else "of the training range: models may have seen them"
    say(
        f"{n_entries} memories, {n_questions} questions each; {len(seeds)} episodes of {options.seconds:g} s, "
        f"seeds {seeds.start} to {seeds.stop - 1}, {where}"
    )


def _row_settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in ("seconds", "every_s")}
