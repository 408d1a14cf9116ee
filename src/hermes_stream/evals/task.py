"""What every benchmark promises: its records, its prompts, its scoring. One file below `tasks/` for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from hermes_stream.errors import ConfigError, unknown_name
from hermes_stream.evals.annotations import Annotations, Problem
from hermes_stream.evals.item import END, Ask, Earlier, Item, Reply
from hermes_stream.evals.judge import Judge
from hermes_stream.evals.judges.judging import Case
from hermes_stream.evals.scores import Average, Mode, Scores
from hermes_stream.types import Query

Protocol = Literal["strict", "official"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a benchmark is asked; what two results must share to be compared.

    protocol: "strict" shows nothing later than the question and shuffles what must be; "official" asks as the published
        runner does, its traps included. How replies are *read* is another matter: see `Mode`.
    splits: which of the task's; () is all. prompts: the user's copy of the benchmark's repository, whose wording is
        then used; None is our own. seed: of shuffled options. max_new_tokens: None is what the task says.
    context_seconds: how much of a video before a question is watched, where questions come during the video; None is
        all of it.
    """

    protocol: Protocol = "strict"
    splits: tuple[str, ...] = ()
    prompts: Path | None = None
    seed: int = 0
    max_new_tokens: int | None = None
    repetition_penalty: float = 1.0
    context_seconds: float | None = None


@dataclass(frozen=True)
class Loaded:
    """A benchmark as it was found in a folder: items in the order in which they are asked, video by video.

    problems: everything that is not as published, and what was done about it. annotation_sha256: of the files read.
    """

    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    annotation_sha256: str

    @property
    def missing_videos(self) -> frozenset[str]:
        return frozenset(problem.video for problem in self.problems if problem.video is not None)


class Task(ABC):
    """A benchmark. Reads files as they are published; passive: nothing is read before `load`.

    Subclasses state the facts below and define `read`, `prompt`, `score`; all else has a default.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    hub_id: ClassVar[str | None] = None
    licence: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    metric: ClassVar[str]
    files: ClassVar[str]
    """What the data folder must hold, for people."""
    modes: ClassVar[tuple[Mode, ...]] = ("official", "strict")
    is_judged: ClassVar[bool] = False
    needs_data: ClassVar[bool] = True
    """Whether it reads files of a folder."""
    has_history: ClassVar[bool] = True
    """Whether the questions to a video are one viewer's, of which a policy may be told (HERMES' question history)."""
    averages: ClassVar[tuple[Average, ...]] = ()

    def __init__(self, setting: Setting | None = None, judge: Judge | None = None) -> None:
        """Raises ConfigError for a split that is not the task's, and for a context of nothing."""
        self.setting = setting or Setting()
        self.judge = judge
        # What came up while replies were scored, and whoever reads the result must know.
        self.notes: list[str] = []
        for split in self.setting.splits:
            if split not in self.splits:
                raise ConfigError(unknown_name(f"split of {self.name}", split, self.splits))
        context = self.setting.context_seconds
        if context is not None and not context > 0:
            raise ConfigError(
                f"a context of {context:g} s was asked for; give more than 0, or none for the whole video"
            )

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """One row for `hermes-stream eval --list`."""
        return {
            "name": cls.name,
            "title": cls.title,
            "splits": list(cls.splits),
            "metric": cls.metric,
            "modes": list(cls.modes),
            "judged": cls.is_judged,
            "data": cls.files,
            "hub_id": cls.hub_id,
            "licence": cls.licence,
        }

    def sample_at(self, fps: float) -> None:  # noqa: B027
        """Learn, before `load`, at which rate videos will be sampled; those that are read from files need not."""

    @property
    def wanted_splits(self) -> tuple[str, ...]:
        return self.setting.splits or self.splits

    def clip_before(self, seconds: float) -> tuple[float, float]:
        """The part of a video that is watched before a question during it."""
        context = self.setting.context_seconds
        return (0.0 if context is None else max(0.0, seconds - context), END)

    @property
    def prompt_label(self) -> str:
        """Whose wording is used."""
        return "own-prompt" if self.setting.prompts is None else f"{self.name}-official"

    def load(self, data: Path) -> Loaded:
        """Everything that the folder holds of the wanted splits.

        Records that cannot be used are problems, not errors. Raises TaskError where the folder is not this benchmark.
        """
        annotations = Annotations(data, self.title, self.files)
        items = annotations.settle(self.read(annotations))
        return Loaded(items, tuple(annotations.problems), annotations.sha256)

    @abstractmethod
    def read(self, annotations: Annotations) -> Iterable[Item]:
        """The items of the wanted splits, in the files' order; what is wrong with a record goes to the annotations."""

    def polls(self, item: Item) -> Sequence[Ask]:
        """When the item is asked: once, unless a benchmark polls."""
        return (Ask(item.qid, item.ask_seconds),)

    @abstractmethod
    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:
        """The question as it is put. earlier: what the item's dialogue has asked so far; () without a dialogue.

        Depends on nothing that only an evaluation may know, unless `ask.shows_gold`.
        """

    def follow_up(self, item: Item, ask: Ask, reply: Reply) -> Ask | None:  # noqa: ARG002
        """What is asked at once after a reply, of the same memory; None for nothing."""
        return None

    def choices(self, item: Item, ask: Ask) -> tuple[str, ...]:  # noqa: ARG002
        """The texts whose probabilities are compared in the mode "logits"; () where there are none."""
        return ()

    @abstractmethod
    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        """Marks for all items that have a gold. replies: by the key of their `Ask`.

        An item without a reply, or with an error, has a mark of 0 and stays in the denominator; so has an empty reply,
        unless an official script thinks otherwise.
        """

    def cases(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Sequence[Case]:  # noqa: ARG002
        """What a judge decides of these replies; nothing unless answers are open."""
        return ()

    def baselines(self, items: Sequence[Item], mode: Mode) -> Mapping[str, Scores]:  # noqa: ARG002
        """What answering without looking scores: constant answers, and chance."""
        return {}

    def video_file(self, data: Path, video: str) -> AbstractContextManager[Path]:
        """A place where the video can be opened while the block lasts."""
        return nullcontext(data / video)
