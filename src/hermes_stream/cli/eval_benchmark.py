"""`hermes-stream eval NAME`: the field's benchmarks in one pass, and the list of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.benchmark_options import BenchmarkOptions
from hermes_stream.cli.benchmark_workers import run_workers
from hermes_stream.cli.output import each_note_once, progress_bar, put_json, say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

    from hermes_stream.evals.benchmark_run import BenchmarkRun
    from hermes_stream.evals.item import Reply
    from hermes_stream.evals.lineup import Lineup
    from hermes_stream.evals.reply_log import Shard
    from hermes_stream.evals.task import Loaded, Task

_N_PROBLEMS = 20


def benchmark(
    name: str | None = None,
    *,
    out: Path | None = None,
    skip_missing: Annotated[bool, Parameter(negative="")] = False,
    shard: str | None = None,
    workers: int = 1,
    judge: str | None = None,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchmarkOptions | None, Parameter(name="*")] = None,
) -> None:
    """Run a benchmark: one pass over each video, every question at its time, all memories side by side.

    Stop it whenever you like: the same command goes on where it was, and asks nothing twice. See docs/benchmarks.md.

    Parameters
    ----------
    name
        Of the benchmark; see --list.
    out
        A folder for replies, manifest and, at the end, the report.
    skip_missing
        Go on without videos that are not there.
    shard
        A part of the videos, as in 0/4: run 0/4 to 3/4 anywhere, into one folder.
    workers
        Processes that share the videos; each on an accelerator of its own where there are several.
    judge
        Of open answers, as of hermes-stream report.
    list_
        Name the benchmarks, and what their data folders must hold.
    json
        Print one JSON object per line.
    """
    if list_:
        _list(json=json)
        return
    options = options or BenchmarkOptions()
    task, loaded, part = _prepare(name, options, out, shard, workers, skips_missing=skip_missing)
    assert out is not None
    if workers > 1:
        run_workers(task, loaded, options, out, workers, skips_missing=skip_missing)
    else:
        _run(task, loaded, options, out, part)
    if part.count > 1:
        say(f"{out}: part {part.index} of {part.count} is done; hermes-stream report {out} reads all parts")
    elif task.is_judged and judge is None:
        say(f"{out}: the replies are there, and need a judge; see hermes-stream report {out} --judge NAME")
    else:
        _report(out, judge, json=json)


def _prepare(
    name: str | None,
    options: BenchmarkOptions,
    out: Path | None,
    shard: str | None,
    workers: int,
    *,
    skips_missing: bool,
) -> tuple[Task, Loaded, Shard]:
    """What can be judged before a model is loaded."""
    from hermes_stream.evals.benchmark_run import check_videos
    from hermes_stream.evals.reply_log import Shard
    from hermes_stream.evals.tasks import find_task

    if name is None:
        raise ConfigError("no benchmark was named; see hermes-stream eval --list")
    task = find_task(name)(options.setting)
    if out is None:
        raise ConfigError("no folder for the results; give one with --out")
    if workers < 1 or (workers > 1 and shard is not None):
        raise ConfigError(f"--workers is {workers}; give 1 or more, and not together with --shard")
    if workers > 1 and options.wall_clock:
        raise ConfigError(f"--workers is {workers}; --wall-clock needs the machine for one memory at a time")
    options.check()
    part = Shard() if shard is None else Shard.parse(shard)
    if options.fps is not None:
        task.sample_at(options.fps)
    data = _data(task, options)
    loaded = task.load(data)
    check_videos(loaded, data, skips_missing=skips_missing)
    if part.index == 0:
        _say_problems(loaded)
    return task, loaded, part


def _say_problems(loaded: Loaded) -> None:
    """The first of many."""
    for problem in loaded.problems[:_N_PROBLEMS]:
        say(f"note: {problem}")
    if (n_more := len(loaded.problems) - _N_PROBLEMS) > 0:
        say(f"note: {n_more} more records are not as published; all are listed in manifest.json")


def _data(task: Task, options: BenchmarkOptions) -> Path:
    """Raises ConfigError where a benchmark that reads files was given none."""
    from hermes_stream.evals.dataset_folder import dataset_folder

    if options.data is None:
        if task.needs_data:
            raise ConfigError(f"{task.name} needs --data, a folder with {task.files}")
        return Path()
    return dataset_folder(options.data)


def _run(task: Task, loaded: Loaded, options: BenchmarkOptions, out: Path, part: Shard) -> None:
    """This process's part, on one model."""
    from hermes_stream.evals.lineup import Lineup
    from hermes_stream.evals.manifest import begin_run, describe_run, end_run
    from hermes_stream.evals.reply_log import ReplyLog, read_replies
    from hermes_stream.evals.wall_clock_run import WallClockRun
    from hermes_stream.models.identity import checkpoint_identity

    began = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(each_note_once())
        lineup = stack.enter_context(Lineup(options.load_adapter(), fps=options.fps))
        lineup.enter(options.entries(lineup), 0)
        loaded = _at_rate(task, loaded, lineup, options)
        described = describe_run(
            lineup,
            task,
            loaded,
            options.data,
            identity=checkpoint_identity(options.model),
            max_pixels=options.max_pixels,
            wants_logits=options.logits,
            wall_clock={"speed": options.speed} if options.wall_clock else None,
        )
        log = stack.enter_context(ReplyLog(out, part))
        manifest = begin_run(out, part, described)
        replies = read_replies(out)
        known = {str(entry): replies.answered(str(entry)) for entry in lineup.entries}
        run = _make_run(lineup, task, loaded, options, known, part)
        say(f"{len(lineup.entries)} memories, {len(run.videos)} videos, {run.n_left} questions to ask")
        progress = stack.enter_context(progress_bar())
        listener = BenchmarkListener(progress, run.n_left)
        run.run(log, listener)
        if isinstance(run, WallClockRun):
            run.find_highest_rates(log, listener, list(replies.sustained_fps))
        end_run(out, part, manifest, began)


def _make_run(
    lineup: Lineup,
    task: Task,
    loaded: Loaded,
    options: BenchmarkOptions,
    known: Mapping[str, Mapping[str, Reply]],
    part: Shard,
) -> BenchmarkRun:
    from hermes_stream.evals.benchmark_run import BenchmarkRun
    from hermes_stream.evals.wall_clock_run import WallClockRun

    given = (lineup, task, loaded, _data(task, options), known, part, options.logits)
    return WallClockRun(*given, speed=options.speed) if options.wall_clock else BenchmarkRun(*given)


def _at_rate(task: Task, loaded: Loaded, lineup: Lineup, options: BenchmarkOptions) -> Loaded:
    """Episodes that are made, not read, ask what can be seen at the model's rate."""
    if options.fps is not None or task.needs_data:
        return loaded
    task.sample_at(lineup.fps)
    return task.load(_data(task, options))


class BenchmarkListener:
    """Moves the progress bar and says who failed."""

    def __init__(self, progress: Progress, n_replies: int) -> None:
        self._progress, self._n_replies, self._n_answered = progress, n_replies, 0
        self._task = progress.add_task("asking", total=n_replies, note="")

    def answered(self, n: int) -> None:
        self._n_answered += n
        note = f"{self._n_answered}/{self._n_replies}"
        self._progress.update(self._task, completed=self._n_answered, note=note)

    def failed(self, who: str, video: str, reason: str) -> None:
        say(f"error: {video}{': ' if who else ''}{who}: {' '.join(reason.split())}")


def _report(out: Path, judge: str | None, *, json: bool) -> None:
    from hermes_stream.cli.report import show_report

    show_report([out], "json" if json else "terminal", judge=judge)


def _list(*, json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from hermes_stream.evals.tasks import TASKS

    rows = [task.describe() for _, task in sorted(TASKS.items())]
    if json:
        for row in rows:
            put_json(row)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "splits", "metric", "data"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row["name"], ", ".join(row["splits"]), row["metric"], row["data"])
    Console(file=sys.stdout).print(table)
