"""`hermes-stream eval commentary-report`: commentaries compared with transcripts, and with one another by a judge."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hermes_stream.cli.eval_commentary import CutOptions, load
from hermes_stream.cli.output import put_json, say
from hermes_stream.errors import ConfigError, HermesError

if TYPE_CHECKING:
    from hermes_stream.evals.inf_streams.duel import Prompt
    from hermes_stream.evals.inf_streams.games import InfStreams
    from hermes_stream.evals.inf_streams.spoken import Spoken
    from hermes_stream.evals.judges.endpoint import EndpointSetting

_Row = dict[str, Any]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Who judges, and how it is asked.

    Parameters
    ----------
    judge
        ADDRESS#MODEL, as in http://localhost:8000/v1#judge-7b, or ADDRESS#MODEL@REVISION.
    unpinned
        Send the judge no temperature, seed and limit of tokens, where it refuses them; its replies may then vary.
    prompts
        A copy of the benchmark's repository, whose question to the judge is then used.
    truth
        Ask who is nearer to the transcript, whatever the delivery.
    """

    judge: str | None = None
    unpinned: Annotated[bool, Parameter(negative="")] = False
    prompts: Path | None = None
    truth: Annotated[bool, Parameter(negative="")] = False

    def check(self) -> None:
        """Raise ConfigError or TaskError for what is wrong whatever was said."""
        if self.truth and self.prompts is not None:
            raise ConfigError("--truth and --prompts are two questions; give one of them")
        if self.judge is not None:
            _ = self.setting, self.prompt

    @property
    def setting(self) -> EndpointSetting:
        from hermes_stream.evals.judges import endpoint_named

        setting = endpoint_named(self.judge or "")
        return replace(setting, temperature=None, seed=None, max_new_tokens=None) if self.unpinned else setting

    @property
    def prompt(self) -> Prompt:
        from hermes_stream.evals.inf_streams.duel import Prompt

        if self.prompts is not None:
            return Prompt.published(self.prompts)
        return Prompt.of_truth() if self.truth else Prompt()

    @property
    def question(self) -> str:
        """Which one it is, for people."""
        return "published" if self.prompts is not None else "truth" if self.truth else "own"


def commentary_report(
    *runs: Path,
    data: Path,
    against: Path | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    judging: Annotated[JudgeOptions | None, Parameter(name="*")] = None,
    segments: Annotated[CutOptions | None, Parameter(name="*")] = None,
) -> None:
    """Compare commentaries with the transcripts; with a judge, also in pairs, each asked in both orders.

    A judge's replies are kept: a second start asks only what was not answered.

    Parameters
    ----------
    runs
        Folders that `eval commentary --out` wrote, or files of predictions in the published format.
    data
        The benchmark's folder.
    against
        The run, or file of predictions, that the others are compared with. Default: the first, of a folder the first
        by name.
    out
        A folder for results.jsonl, a line for each segment of each pair, and the judge's replies (judge.jsonl).
        Default of the last: where the first run is.
    json
        Print one JSON object per run.
    """
    from hermes_stream.cli.commentary_tables import print_commentary_tables
    from hermes_stream.evals.inf_streams.report import overlap_row

    judging = judging or JudgeOptions()
    judging.check()
    spoken, other = _runs(runs, against, is_judged=judging.judge is not None)
    loaded = load(data, (segments or CutOptions()).cut(spoken[0].settings))
    for run in spoken:
        _note(run, loaded)
    rows = [overlap_row(run, loaded) for run in spoken]
    kept = (out or _folder_of(runs[0])) / "judge.jsonl"
    errors = [] if other is None else _judge(judging, kept, spoken, other, loaded, rows, out)
    for row in rows if json else ():
        put_json(row)
    if not json:
        print_commentary_tables(rows)
    if out is not None:
        _write(out / "results.jsonl", rows)
    if errors:
        n_unjudged = sum(row["duel"]["n_unjudged"] for row in rows if row.get("duel"))
        raise HermesError(f"{n_unjudged} segments were not judged: {errors[0]}; what was is kept, start again to go on")


def _runs(paths: Sequence[Path], against: Path | None, *, is_judged: bool) -> tuple[list[Spoken], Spoken | None]:
    """All runs, and the one that the others are compared with."""
    from hermes_stream.evals.inf_streams.spoken import read_runs

    if not paths:
        raise ConfigError("no run was given; name folders that `eval commentary --out` wrote")
    runs = [run for path in paths for run in read_runs(path)]
    if not is_judged:
        return runs, None
    if against is None:
        if len(runs) < 2:
            raise ConfigError(f"{runs[0].name} is alone; name a second run, or one with --against")
        return runs, runs[0]
    others = read_runs(against)
    if len(others) != 1:
        raise ConfigError(f"--against {against} holds {len(others)} runs; name one of them")
    return runs, others[0]


def _note(run: Spoken, loaded: InfStreams) -> None:
    """What may be wrong with a run, for people."""
    if run.n_broken:
        say(f"note: {run.name}: {run.n_broken} lines were broken off, and are left out")
    if run.settings.get("data_sha256") not in (None, loaded.sha256):
        say(f"note: {run.name} was made with other transcripts than these")


def _judge(
    judging: JudgeOptions,
    kept: Path,
    runs: Sequence[Spoken],
    other: Spoken,
    loaded: InfStreams,
    rows: Sequence[_Row],
    out: Path | None,
) -> list[str]:
    """Put a duel into the row of every run but the other; returns what went wrong."""
    from hermes_stream.evals.inf_streams.duel import judge_pairs
    from hermes_stream.evals.inf_streams.report import duel_row, pairs_of, segment_rows
    from hermes_stream.evals.judges import open_asker

    prompt, errors = judging.prompt, list[str]()
    with open_asker(judging.setting, kept) as asker:
        for run, row in zip(runs, rows, strict=True):
            if run == other:
                continue
            pairs = pairs_of(run, other, loaded)
            judgement = judge_pairs(asker, prompt, pairs)
            manifest = {**asker.manifest, "prompt_sha256": prompt.sha256, "question": judging.question}
            row["duel"] = {**duel_row(other, pairs, judgement, loaded), "judge": manifest}
            errors += [judgement.error] if judgement.error else []
            if out is not None:
                name = f"{run.name}_against_{other.name}.jsonl"
                _write(out / name, segment_rows(pairs, judgement, asker.manifest["model"]))
    return errors


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _write(path: Path, rows: Sequence[_Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json_module.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    say(str(path))
