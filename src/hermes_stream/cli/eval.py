"""`hermes-stream eval`: memory policies judged at equal budgets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from hermes_stream.cli.eval_alerts import alerts
from hermes_stream.cli.eval_benchmark import benchmark
from hermes_stream.cli.eval_commentary import commentary
from hermes_stream.cli.eval_commentary_report import commentary_report
from hermes_stream.cli.eval_options import JudgedOptions, split_list
from hermes_stream.cli.output import each_note_once, progress_bar
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.evals.episodes import Episode
    from hermes_stream.evals.lineup import Lineup

evaluation = App(name="eval", help="Judge memory policies by how well questions are answered from what they keep.")
evaluation.command(alerts)
evaluation.command(commentary)
evaluation.command(commentary_report)
evaluation.command(benchmark)
evaluation.default(benchmark)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvalOptions(JudgedOptions):
    """Who is judged, and on what.

    Parameters
    ----------
    memory
        Policies with options, separated by commas. The others are compared with the first.
    every
        Seconds between questions.
    regimes
        Which questions: real-time, backward, forward.
    """

    every: float = 0.5
    regimes: str = "real-time,backward,forward"

    @property
    def settings(self) -> dict[str, Any]:
        """What runs must share to be joined."""
        regimes = split_list("--regimes", self.regimes)
        return {"seconds": self.seconds, "every_s": self.every, "regimes": regimes}


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
    from hermes_stream.evals.episodes import check_lengths
    from hermes_stream.evals.report import report
    from hermes_stream.evals.run import evaluate

    options = options or EvalOptions()
    seeds = options.check()
    check_lengths(options.seconds, options.every, split_list("--regimes", options.regimes))
    if out is not None:
        check_can_draw(out)
    with ExitStack() as stack:
        stack.enter_context(each_note_once())
        lineups = options.line_up(stack)
        episodes = _episodes(options, seeds, lineups)
        n_questions = sum(len(episode.questions) for episode in episodes)
        options.say_settings(lineups, n_questions)
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


def _episodes(options: EvalOptions, seeds: range, lineups: Sequence[Lineup]) -> list[Episode]:
    from hermes_stream.evals.episodes import make_episodes

    return make_episodes(
        seeds,
        seconds=options.seconds,
        fps=min(lineup.fps for lineup in lineups),
        every_seconds=options.every,
        regimes=split_list("--regimes", options.regimes),
    )


def _row_settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in ("seconds", "every_s")}
