"""`hermes-stream eval commentary`: hours of video narrated, and compared with what people said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hermes_stream.cli.eval_options import split_list
from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.cli.output import each_note_once, progress_bar, put_json, say
from hermes_stream.defaults import NARRATING_MEMORY, NARRATING_MODEL
from hermes_stream.errors import ConfigError, HermesError, SourceError, TaskError

if TYPE_CHECKING:
    from rich.progress import Progress

    from hermes_stream.engine.engine import Engine
    from hermes_stream.evals.inf_streams.games import Cut, Game, InfStreams
    from hermes_stream.evals.inf_streams.narrating import NarrateSetting, Narrator, Part
    from hermes_stream.evals.inf_streams.spoken import Piece, Spoken
    from hermes_stream.evals.lineup import Entry

_N_PROBLEMS = 20
_Plan = list[tuple["Game", list["Part"]]]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CutOptions:
    """Which segments.

    Parameters
    ----------
    start
        Second of each video at which narration begins. Default: 1000, or that of the run.
    segment
        Seconds of a segment. Default: 100, or those of the run.
    min_words
        Segments in which fewer are said are not scored; lists of segments that come with the data are scored as they
        are. Default: 200, or those of the run.
    """

    start: int | None = None
    segment: int | None = None
    min_words: int | None = None

    def cut(self, run: Mapping[str, Any]) -> Cut:
        """What was not given is as in a run's settings, or as published."""
        from hermes_stream.evals.inf_streams.games import Cut

        given = {"start_seconds": self.start, "segment_seconds": self.segment, "min_words": self.min_words}
        known = {name: run[name] for name in given if name in run}
        return Cut(**{**known, **{name: value for name, value in given.items() if value is not None}})


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NarratedOptions(ModelOptions):
    """Who narrates, and how.

    Parameters
    ----------
    model
        As everywhere; several separated by commas, one after the other.
    memory
        Policies with options, separated by commas.
    budget
        Tokens per layer, or bytes as in 16MiB. Default: the model's.
    mode
        infinite: one session for a whole video; chunk: a new one for each segment.
    past
        What a session is told was said before it: the transcript's words (reference), as published, or from the first
        segment on its own.
    past_words
        How many of these it is told, the first and the last half.
    prompt
        What is wanted. Default: the model's own, or that of --prompts.
    prompts
        A copy of the benchmark's repository, whose instruction is then used.
    fps
        Frames per second to look at. Default: the model's.
    tokens_per_second
        The most that is said.
    temperature
        Of sampling; 0 takes the most probable word.
    repetition_penalty
        Above 1, what was said is less probable.
    seed
        Of sampling.
    """

    model: str = NARRATING_MODEL
    memory: str = NARRATING_MEMORY
    budget: str | None = None
    mode: Literal["chunk", "infinite"] = "infinite"
    past: Literal["reference", "own"] = "reference"
    past_words: int = 800
    prompt: str | None = None
    prompts: Path | None = None
    fps: float | None = None
    tokens_per_second: float = 20.0
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    @property
    def setting(self) -> NarrateSetting:
        """Raises ConfigError or TaskError for what cannot be."""
        from hermes_stream.engine.commentary.state import CommentarySettings
        from hermes_stream.evals.inf_streams.instruction import published_instruction
        from hermes_stream.evals.inf_streams.narrating import NarrateSetting

        published = None if self.prompts is None else published_instruction(self.prompts)
        drawn = ("tokens_per_second", "temperature", "repetition_penalty", "seed")
        given = {name: getattr(self, name) for name in ("mode", "past", "past_words", "fps", *drawn)}
        setting = NarrateSetting(instruction=self.prompt if self.prompt is not None else published, **given)
        CommentarySettings("", **{name: given[name] for name in drawn})
        return setting

    def entries(self) -> list[Entry]:
        """Each memory, checked as far as that goes without a model."""
        from hermes_stream.evals.lineup import Entry, make_entries
        from hermes_stream.policies.spec import parse_memory, split_policies

        if self.device == "meta":
            raise ConfigError("--device meta holds no numbers to speak with; it is for hermes-stream doctor")
        memories = split_policies(self.memory)
        if self.budget is not None:
            return make_entries(memories, [int(self.budget) if self.budget.isdecimal() else self.budget])
        for memory in memories:
            parse_memory(memory, bytes_per_token=1)
        return [Entry(memory) for memory in dict.fromkeys(memories)]


def commentary(
    *,
    data: Path,
    out: Path,
    json: Annotated[bool, Parameter(negative="")] = False,
    segments: Annotated[CutOptions | None, Parameter(name="*")] = None,
    options: Annotated[NarratedOptions | None, Parameter(name="*")] = None,
) -> None:
    """Narrate the videos of Inf-Streams-Eval, or of a folder of yours in its format, and compare with the transcripts.

    Stop it whenever you like: the same command goes on where it was, and narrates nothing twice. For a judge see
    eval commentary-report.

    Parameters
    ----------
    data
        The benchmark's folder.
    out
        A folder for the runs, one in it for each model, memory and mode.
    json
        Print one JSON object per run.
    """
    from hermes_stream.cli.commentary_tables import print_commentary_tables
    from hermes_stream.evals.inf_streams.narrating import Narrator
    from hermes_stream.evals.inf_streams.report import overlap_row

    options, cut = options or NarratedOptions(), (segments or CutOptions()).cut({})
    models = split_list("--model", options.model)
    entries, setting = options.entries(), options.setting
    loaded = load(data, cut)
    plan = _plan(loaded, cut)
    n_failed, rows = 0, []
    with each_note_once():
        for model in models:
            options = replace(options, model=model)
            with _engine(options) as engine:
                narrators = [Narrator(engine, entry, setting, cut) for entry in entries]
                for spoken, n_more in _narrate(narrators, _about(options, loaded), plan, out):
                    rows.append(overlap_row(spoken, loaded))
                    n_failed += n_more
    for row in rows if json else ():
        put_json(row)
    if not json:
        print_commentary_tables(rows)
    if n_failed:
        raise HermesError(f"{n_failed} narrations did not come to their end; start again to go on with them")


def load(data: Path, cut: Cut) -> InfStreams:
    """The data, with a word about what is wrong with it."""
    from hermes_stream.evals.inf_streams.games import load_inf_streams

    loaded = load_inf_streams(data, cut)
    for problem in loaded.problems[:_N_PROBLEMS]:
        say(f"note: {problem}")
    if len(loaded.problems) > _N_PROBLEMS:
        say(f"note: and {len(loaded.problems) - _N_PROBLEMS} more")
    return loaded


def _plan(loaded: InfStreams, cut: Cut) -> _Plan:
    """What is to be narrated; every video is opened once, before a model is loaded."""
    from hermes_stream.evals.inf_streams.narrating import parts_of

    plan: _Plan = []
    for game in loaded.games:
        try:
            plan.append((game, parts_of(game, cut)))
        except (SourceError, TaskError) as error:
            say(f"note: {game.name} is left out: {error}")
    if not plan:
        raise TaskError("there is no video to narrate; see the notes above, and --start")
    return plan


@contextmanager
def _engine(options: NarratedOptions) -> Iterator[Engine]:
    from hermes_stream.engine.engine import Engine

    with Engine(options.load_adapter()) as engine:
        yield engine


def _about(options: NarratedOptions, loaded: InfStreams) -> dict[str, Any]:
    """What a narrator cannot know of a run."""
    from hermes_stream.models.identity import checkpoint_identity

    identity = checkpoint_identity(options.model)
    return {"data_sha256": loaded.sha256, "identity": identity, "max_pixels": options.max_pixels}


def _narrate(
    narrators: Sequence[Narrator], about: dict[str, Any], plan: _Plan, out: Path
) -> Iterator[tuple[Spoken, int]]:
    """All that each has said, and how many videos failed. Who cannot narrate is told before anybody begins."""
    from hermes_stream.evals.inf_streams.narrating import narrate_all
    from hermes_stream.evals.inf_streams.spoken import RunLog, read_spoken, run_name

    n_parts = sum(len(parts) for _, parts in plan)
    with ExitStack() as stack:
        settings = [narrator.settings(**about) for narrator in narrators]
        logs = [stack.enter_context(RunLog(out / run_name(each), each)) for each in settings]
        for narrator, log in zip(narrators, logs, strict=True):
            n_done = sum(len(log.pieces(game.name)) for game, _ in plan)
            say(f"{log.folder}: {n_parts} pieces of {len(plan)} videos, {n_done} of them done before")
            with progress_bar() as progress:
                n_failed = narrate_all(narrator, plan, log, _Listener(progress, n_parts, n_done))
            yield read_spoken(log.folder), n_failed


class _Listener:
    """Moves the progress bar, and says who failed."""

    def __init__(self, progress: Progress, n: int, n_done: int) -> None:
        self._progress, self._n_done, self._n = progress, n_done, n
        self._task = progress.add_task("narrating", total=n, completed=n_done, note="")

    def narrated(self, piece: Piece) -> None:
        self._n_done += 1
        note = f"{self._n_done}/{self._n}, {piece.video} to {piece.end_seconds} s"
        self._progress.update(self._task, completed=self._n_done, note=note)

    def failed(self, game: Game, error: HermesError) -> None:
        say(f"error: {game.name} was not narrated to its end: {' '.join(str(error).split())}")
