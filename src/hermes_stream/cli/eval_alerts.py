"""`hermes-stream eval alerts`: standing questions, judged by what really happens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hermes_stream.cli.eval_options import JudgedOptions
from hermes_stream.cli.output import each_note_once, progress_bar, put_json, say
from hermes_stream.errors import ConfigError, HermesError

if TYPE_CHECKING:
    from rich.progress import Progress

    from hermes_stream.bench.machine import Machine
    from hermes_stream.evals.alerts import AlertRecord
    from hermes_stream.evals.episodes import Episode
    from hermes_stream.evals.lineup import Lineup

_Row = dict[str, Any]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AlertOptions(JudgedOptions):
    """Who watches, and when a standing question counts as hit.

    Parameters
    ----------
    every
        Frames between two looks. Default: an interval of the model.
    threshold
        Of the model's probability of the hit.
    hold_seconds
        A hit must have been at or above the threshold for so long.
    hold_looks
        A hit must have been at or above the threshold in so many looks in a row.
    cooldown_seconds
        Between two hits of a standing question.
    """

    memory: str = "keep-all,hermes,sliding-window"
    every: int | None = None
    threshold: float = 0.5
    hold_seconds: float = 0.0
    hold_looks: int = 1
    cooldown_seconds: float = 0.0

    @property
    def rules(self) -> dict[str, Any]:
        """When a look is a hit."""
        names = ("threshold", "hold_seconds", "hold_looks", "cooldown_seconds")
        return {name: getattr(self, name) for name in names}


def alerts(
    *,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[AlertOptions | None, Parameter(name="*")] = None,
) -> None:
    """Ask all memories to tell when each kind of object appears in ShapeStream episodes, and count what they tell.

    Each kind gets a standing question of either wording, whether it will appear or not. See docs/evals.md.

    Parameters
    ----------
    out
        A folder for alerts.json: all rows, with their curves over thresholds, command, machine and settings.
    json
        Print one JSON object per policy, budget, model and wording.
    """
    from hermes_stream.bench.machine import Machine
    from hermes_stream.cli.alert_tables import print_alert_tables
    from hermes_stream.evals.alert_report import alert_report
    from hermes_stream.evals.alerts import evaluate_alerts
    from hermes_stream.evals.episodes import Episode
    from hermes_stream.shapestream import make_script

    options = options or AlertOptions()
    seeds = _check(options)
    machine = Machine.here()
    episodes = [Episode(make_script(seed, options.seconds), ()) for seed in seeds]
    with ExitStack() as stack:
        stack.enter_context(each_note_once())
        lineups = options.line_up(stack)
        _check_looks(options, lineups)
        options.say_settings(lineups, _n_questions(episodes))
        with progress_bar() as progress:
            listener = _Listener(progress, len(episodes) * len(lineups))
            records = evaluate_alerts(lineups, episodes, every=options.every, listener=listener)
        rows = alert_report(lineups, records, len(episodes), every=options.every, rules=options.rules)
    if json:
        for row in rows:
            put_json(row)
    else:
        print_alert_tables(rows)
    if all("error" in row for row in rows):
        raise HermesError("no memory came to the end, so there is nothing to compare")
    if out is not None:
        _save(out, machine, options, rows)


class _Listener:
    """Moves the progress bar, and says who failed."""

    def __init__(self, progress: Progress, n: int) -> None:
        self._progress, self._n_done, self._n = progress, 0, n
        self._task = progress.add_task("watching", total=n, note="")

    def watched(self) -> None:
        self._n_done += 1
        self._progress.update(self._task, completed=self._n_done, note=f"{self._n_done}/{self._n}")

    def failed(self, lineup: Lineup, record: AlertRecord, episode: Episode) -> None:
        error = " ".join((record.error or "").split())
        say(f"error: {record.entry} failed on {lineup.model}, seed {episode.seed}, and is out: {error}")


def _check(options: AlertOptions) -> range:
    """What is wrong whatever the model is; the seeds."""
    from pydantic import ValidationError

    from hermes_stream.engine.standing import StandingQuestion

    try:
        StandingQuestion(question="?", every_frames=options.every, **options.rules)
    except ValidationError as error:
        first = error.errors()[0]
        name = "every" if first["loc"][0] == "every_frames" else str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{name} is {first['input']}; {first['msg'][0].lower()}{first['msg'][1:]}") from error
    return options.check()


def _check_looks(options: AlertOptions, lineups: Sequence[Lineup]) -> None:
    """Raise ConfigError for episodes that are over before the first look."""
    from hermes_stream.evals.alerts import every_frames

    for lineup in lineups:
        seconds = every_frames(lineup, options.every) / lineup.fps
        if seconds > options.seconds:
            raise ConfigError(
                f"{lineup.model} looks every {seconds:g} s, and episodes have {options.seconds:g} s; make them longer"
            )


def _n_questions(episodes: Sequence[Episode]) -> int:
    from hermes_stream.evals.alert_truth import pose

    return len(episodes) * len(pose(episodes[0].script, fps=1, look_seconds=1))


def _save(out: Path, machine: Machine, options: AlertOptions, rows: Sequence[_Row]) -> None:
    from hermes_stream.bench.results import command_line, write_results

    settings = {"seed": options.seed, "seconds": options.seconds, "every": options.every, **options.rules}
    path = write_results(out / "alerts.json", machine, command_line("hermes-stream", sys.argv[1:]), settings, rows)
    say(str(path))
