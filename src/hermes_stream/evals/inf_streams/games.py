"""Inf-Streams-Eval as it is published: videos with timed transcripts, and the segments that are scored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hermes_stream.errors import ConfigError, TaskError
from hermes_stream.evals.annotations import Annotations, Problem, Record
from hermes_stream.types import TimedWord

TITLE = "Inf-Streams-Eval"
FILES = "eval_all_metadata.jsonl (video and timed words, one video a line) and the videos"
_METADATA = "*metadata*.jsonl"
_CLIPS = "*clips*.jsonl"


@dataclass(frozen=True, slots=True)
class Game:
    """One video and its transcript, in order of time. name: of its file, by which segments and runs know it."""

    name: str
    path: Path
    words: tuple[TimedWord, ...]

    @property
    def end_seconds(self) -> int:
        """When the transcript is over."""
        return math.ceil(max(word.end_seconds for word in self.words))

    def said_before(self, seconds: float) -> str:
        """All words that had ended by then."""
        return " ".join(word.text for word in self.words if word.end_seconds <= seconds)

    def said_within(self, start_seconds: float, end_seconds: float) -> list[str]:
        """The words that ended in `(start, end]`."""
        return [word.text for word in self.words if start_seconds < word.end_seconds <= end_seconds]


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a game that is scored, and what was said there. video: the game's name."""

    video: str
    start_seconds: int
    end_seconds: int
    reference: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where narration begins, how long a segment is, and how much must be said in one for it to be scored.

    Segments that a data folder brings along are scored as they are.
    """

    start_seconds: int = 1000
    segment_seconds: int = 100
    min_words: int = 200

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers that cannot be."""
        for name, least in (("start_seconds", 0), ("segment_seconds", 1), ("min_words", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected {least} or more")


@dataclass(frozen=True, slots=True)
class InfStreams:
    """What a data folder holds. sha256: of its annotations. problems: what is odd, left out or missing."""

    games: tuple[Game, ...]
    segments: tuple[Segment, ...]
    problems: tuple[Problem, ...]
    sha256: str


def load_inf_streams(data: Path, cut: Cut) -> InfStreams:
    """Read a data folder. Raises TaskError where there is none, or nothing in it can be scored."""
    annotations = Annotations(data, TITLE, FILES)
    (metadata,) = annotations.find(_METADATA)[:1]
    games = tuple(_games(annotations, annotations.records(metadata)))
    if annotations.has(_CLIPS):
        (clips,) = annotations.find(_CLIPS)[:1]
        found = list(annotations.make(annotations.records(clips), lambda record: [_segment(annotations, record)]))
        # Of a segment that comes twice the last one counts, as in the release.
        segments = tuple({(each.video, each.start_seconds, each.end_seconds): each for each in found}.values())
    else:
        segments = tuple(segment for game in games for segment in cut_segments(game, cut))
    if not games or not segments:
        raise TaskError(
            f"{data} holds {len(games)} videos and {len(segments)} segments to score"
            f"{_first(annotations.problems)}; segments begin at {cut.start_seconds} s (--start), last "
            f"{cut.segment_seconds} s (--segment) and have {cut.min_words} words or more (--min-words)"
        )
    return InfStreams(games, segments, tuple(annotations.problems), annotations.sha256)


def cut_segments(game: Game, cut: Cut) -> Iterator[Segment]:
    """The segments of a game in which enough is said; the last one ends with the transcript."""
    for start in range(cut.start_seconds, game.end_seconds, cut.segment_seconds):
        end = min(start + cut.segment_seconds, game.end_seconds)
        words = " ".join(game.said_within(start, end)).split()
        if len(words) >= max(cut.min_words, 1):
            yield Segment(game.name, start, end, " ".join(words))


def _games(annotations: Annotations, records: list[Record]) -> Iterator[Game]:
    known = set[str]()
    for game in annotations.make(records, lambda record: [_game(annotations, record)]):
        if game.name in known:
            annotations.problems.append(Problem("duplicate", game.name, "is the video of two lines; the first is used"))
            continue
        known.add(game.name)
        if not (game.path.is_file() and game.path.stat().st_size > 0):
            message = f"is missing or empty; its segments cannot be narrated; expected {game.path}"
            annotations.problems.append(Problem("missing-video", game.name, message, game.name))
        yield game


def _game(annotations: Annotations, record: Record) -> Game:
    video = record.text("video")
    name = Path(video).name
    path = annotations.video(video.lstrip("/"), f"videos/{name}", name)
    return Game(name, annotations.data / path, _words(annotations, record))


def _segment(annotations: Annotations, record: Record) -> Segment:
    words = _words(annotations, record)
    start, end = int(words[0].start_seconds), int(words[-1].end_seconds)
    if end <= start:
        raise record.malformed(f"lasts from {start} to {end} s; expected a segment of a second or more")
    reference = "\n".join(word.text for word in words)
    return Segment(Path(record.text("video")).name, start, end, reference, str(record.get("title") or ""))


def _words(annotations: Annotations, record: Record) -> tuple[TimedWord, ...]:
    """A transcript in order; what is turned round or out of order in it is put right, and noted."""
    content = record.get("content")
    if not isinstance(content, list) or not content:
        raise record.malformed("has no 'content'; expected a list of [start, end, word]")
    words = [_word(record, index, entry) for index, entry in enumerate(content)]
    if n_turned := sum(word.end_seconds < word.start_seconds for word in words):
        annotations.repaired(record, f"{n_turned} of {len(words)} words end before they start; both times were swapped")
    words = [_turned(word) if word.end_seconds < word.start_seconds else word for word in words]
    ordered = sorted(words, key=lambda word: (word.start_seconds, word.end_seconds))
    if ordered != words:
        annotations.repaired(record, "the words are not in order of time; they were sorted")
    return tuple(ordered)


def _turned(word: TimedWord) -> TimedWord:
    return TimedWord(word.end_seconds, word.start_seconds, word.text)


def _word(record: Record, index: int, entry: object) -> TimedWord:
    match entry:
        case [int() | float() as start, int() | float() as end, str() as text, *_] if _are_times(start, end):
            return TimedWord(float(start), float(end), text.strip())
    raise record.malformed(f"has content entry {index} = {str(entry)[:60]!r}; expected [start, end, word] in seconds")


def _are_times(*values: float) -> bool:
    return all(not isinstance(value, bool) and math.isfinite(value) and value >= 0 for value in values)


def _first(problems: list[Problem]) -> str:
    return f" ({problems[0]})" if problems else ""
