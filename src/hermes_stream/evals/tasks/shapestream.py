"""ShapeStream: videos that are made when they are needed, questions whose every answer is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from hermes_stream.evals.annotations import Annotations
from hermes_stream.evals.episodes import REGIMES, Episode, make_episodes
from hermes_stream.evals.item import Ask, Earlier, Gold, Item, Reply
from hermes_stream.evals.judge import Judge
from hermes_stream.evals.scores import Average, Mark, Mode, Scores
from hermes_stream.evals.task import Loaded, Setting, Task
from hermes_stream.shapestream import EVALUATION_SEEDS, Question, is_right, questions_to_json
from hermes_stream.types import Query

_N_EPISODES = 10
_SECONDS = 64.0
_EVERY_SECONDS = 0.5


class ShapeStream(Task):
    """Needs no data folder. Short answers, right where they are the truth but for case and closing punctuation.

    questions: of each item, by its id, once they are loaded.
    """

    name: ClassVar[str] = "shapestream"
    title: ClassVar[str] = "ShapeStream"
    licence: ClassVar[str] = "this project's"
    splits: ClassVar[tuple[str, ...]] = REGIMES
    metric: ClassVar[str] = "exact match, by regime"
    files: ClassVar[str] = "nothing: episodes are written when they are watched"
    modes: ClassVar[tuple[Mode, ...]] = ("strict",)
    needs_data: ClassVar[bool] = False
    has_history: ClassVar[bool] = False
    averages: ClassVar[tuple[Average, ...]] = (
        *(Average(regime, (regime,)) for regime in REGIMES),
        Average("overall", REGIMES),
    )

    def __init__(
        self,
        setting: Setting | None = None,
        judge: Judge | None = None,
        *,
        seeds: range = range(EVALUATION_SEEDS.start, EVALUATION_SEEDS.start + _N_EPISODES),
        seconds: float = _SECONDS,
        every_seconds: float = _EVERY_SECONDS,
        fps: float = 1.0,
    ) -> None:
        """fps: the lowest rate at which the episodes will be sampled; see `make_episodes` for all of these."""
        super().__init__(setting, judge)
        self._seeds, self._seconds, self._every_seconds, self._fps = seeds, seconds, every_seconds, fps
        self._episodes: dict[str, Episode] = {}
        self.questions: dict[str, Question] = {}

    def sample_at(self, fps: float) -> None:
        self._fps = fps

    def load(self, data: Path | None = None) -> Loaded:  # noqa: ARG002
        """Raises ConfigError for lengths of which no episode can be made, and where nothing is asked."""
        episodes = make_episodes(
            self._seeds,
            seconds=self._seconds,
            fps=self._fps,
            every_seconds=self._every_seconds,
            regimes=self.wanted_splits,
        )
        return self.load_episodes(episodes)

    def load_episodes(self, episodes: Sequence[Episode]) -> Loaded:
        """These episodes instead of those that the seeds make."""
        self._episodes = {_video(episode): episode for episode in episodes}
        text = "".join(questions_to_json(timed.label for timed in episode.questions) for episode in episodes)
        pairs = [pair for episode in episodes for pair in _items(episode)]
        items = tuple(item for item, _ in pairs)
        self.questions = {item.qid: question for item, question in pairs}
        return Loaded(items, (), hashlib.sha256(text.encode()).hexdigest())

    def read(self, annotations: Annotations) -> Iterable[Item]:  # noqa: ARG002
        """Nothing is read of a folder."""
        return self.load().items

    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:  # noqa: ARG002
        return Query(item.question)

    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        marks = tuple(_mark(item, replies.get(ask.key)) for item in items for ask in self.polls(item))
        return Scores(mode, marks, self.averages)

    @contextmanager
    def video_file(self, data: Path, video: str) -> Iterator[Path]:  # noqa: ARG002
        with self._episodes[video].as_file() as path:
            yield path


def _video(episode: Episode) -> str:
    return f"episode-{episode.seed}.mp4"


def _items(episode: Episode) -> list[tuple[Item, Question]]:
    in_time = sorted(episode.questions, key=lambda timed: timed.time_seconds)
    return [(_item(episode, order, timed.label), timed.label) for order, timed in enumerate(in_time)]


def _item(episode: Episode, order: int, question: Question) -> Item:
    return Item(
        bench=ShapeStream.name,
        split=question.regime,
        qid=f"{episode.seed}/{question.time_s:g}",
        video=_video(episode),
        task=question.task,
        question=question.question,
        gold=Gold("text", question.answer, {"event_time_s": question.event_time_s}),
        ask_seconds=question.time_s,
        delay_seconds=question.recall_delay_s,
        order=order,
    )


def _mark(item: Item, reply: Reply | None) -> Mark:
    is_answered = reply is not None and reply.error is None
    return Mark(
        key=item.qid,
        task=item.task,
        video=item.video,
        value=float(is_answered and reply is not None and is_right(reply.text, item.truth)),
        groups=(item.split,),
        is_answered=is_answered,
        delay_seconds=item.delay_seconds,
    )
