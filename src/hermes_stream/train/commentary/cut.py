"""The cutter: long videos with word-timed transcripts to overlapping chunks.

The overlap is only in how chunks are cut: each is trained with full attention and its own supervision, and what was
said before it is its previous text. That is the shape of a bounded memory while it streams.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_stream.errors import ConfigError
from hermes_stream.train.commentary.records import AskedMidway, Record
from hermes_stream.types import TimedWord

# Times are rounded floats.
_SLACK_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class Cut:
    """How chunks are cut. Defaults are those of the paper: 24 s every 12 s, two words a second at least.

    chunk_seconds, overlap_seconds: whole seconds. least_words: chunks with fewer are left out; None: two for each
    second. Raises ConfigError for numbers that cannot be.
    """

    chunk_seconds: int = 24
    overlap_seconds: int = 12
    least_words: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_seconds < self.chunk_seconds:
            raise ConfigError(
                f"chunks of {self.chunk_seconds} s cannot overlap by {self.overlap_seconds} s; give an overlap from 0 "
                "to below the chunk"
            )

    @property
    def stride_seconds(self) -> int:
        """From the start of a chunk to that of the next."""
        return self.chunk_seconds - self.overlap_seconds

    @property
    def fewest_words(self) -> int:
        """What a chunk must have."""
        return 2 * self.chunk_seconds if self.least_words is None else self.least_words


@dataclass(frozen=True, slots=True)
class DenseCut:
    """How clips for the annealing stage are cut: where somebody speaks without a longer pause. Defaults of the paper.

    least_seconds, most_seconds: of a clip, whole. silence_seconds: the longest pause within one. Raises ConfigError for
    numbers that cannot be.
    """

    least_seconds: int = 16
    most_seconds: int = 64
    silence_seconds: float = 3.0
    words_per_second: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.least_seconds <= self.most_seconds or self.silence_seconds < 1:
            raise ConfigError(
                f"clips of {self.least_seconds} to {self.most_seconds} s with pauses up to {self.silence_seconds:g} s "
                "cannot be cut; give 1 <= least <= most, and 1 s of pause at least"
            )


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said during a video, word by word, and questions on the way.

    video: path of the file, relative to the folder of all videos. Raises ConfigError for words that overlap, are out of
    order or end before they begin, and for questions out of order.
    """

    video: str
    words: tuple[TimedWord, ...]
    query: str = ""
    asked: tuple[AskedMidway, ...] = ()
    title: str = ""
    category: str = ""

    def __post_init__(self) -> None:
        end = 0.0
        for index, word in enumerate(self.words):
            if word.end_seconds < word.start_seconds:
                raise ConfigError(
                    f"{self.video}: word {index} ({word.text!r}) ends at {word.end_seconds:g} s, before it begins at "
                    f"{word.start_seconds:g} s; correct the transcript"
                )
            if word.start_seconds < end - _SLACK_SECONDS:
                raise ConfigError(
                    f"{self.video}: word {index} ({word.text!r}) begins at {word.start_seconds:g} s, before the one in "
                    f"front of it ends at {end:g} s; sort the transcript and part words that overlap"
                )
            end = word.end_seconds
        times = [asked.time_seconds for asked in self.asked]
        if times != sorted(times):
            raise ConfigError(f"{self.video}: questions are out of order; sort them by time")


def read_transcripts(path: Path) -> Iterator[Transcript]:
    """One video per line, `{"video", "content": [[start, end, word], ...]}`, as Inf-Streams-Eval has them.

    `query`, `title`, `category` and `qa_stream` (`[id, time, question, answer]`) may stand beside. Raises ConfigError
    naming the line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield _transcript(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{path}, line {number}: not a transcript ({type(error).__name__}: {error}); expected "
                    '{"video", "content": [[start, end, word], ...]}'
                ) from error
            except ConfigError as error:
                raise ConfigError(f"{path}, line {number}: {error}") from error


def _transcript(row: dict[str, Any]) -> Transcript:
    return Transcript(
        video=str(row["video"]),
        words=tuple(TimedWord(float(start), float(end), str(text)) for start, end, text in row["content"]),
        query=str(row.get("query", "")),
        asked=tuple(AskedMidway(str(n), float(t), str(q), str(a)) for n, t, q, a in row.get("qa_stream", ())),
        title=str(row.get("title", "")),
        category=str(row.get("category", "")),
    )


def cut(transcript: Transcript, video_seconds: float, how: Cut) -> Iterator[Record]:
    """The chunks of one video, in time order; those with too few words are left out.

    A word belongs to where it ends. Raises ConfigError for a video that is shorter than a chunk.
    """
    if video_seconds + _SLACK_SECONDS < how.chunk_seconds:
        raise ConfigError(
            f"{transcript.video} has {video_seconds:g} s, a chunk {how.chunk_seconds} s; leave the video out or cut "
            "shorter chunks"
        )
    n_chunks = int((video_seconds + _SLACK_SECONDS - how.chunk_seconds) // how.stride_seconds) + 1
    for index in range(n_chunks):
        record = _chunk(transcript, index * how.stride_seconds, how.chunk_seconds)
        if len(record.words) >= how.fewest_words:
            yield record


def cut_dense(transcript: Transcript, video_seconds: float, how: DenseCut) -> Iterator[Record]:
    """The clips of one video for the annealing stage, in time order and without overlap."""
    for start, end in _spoken_spans(transcript.words, how.silence_seconds):
        end = min(end, int(video_seconds + _SLACK_SECONDS))
        for first in range(start, end, how.most_seconds):
            seconds = min(how.most_seconds, end - first)
            record = _chunk(transcript, first, seconds)
            if seconds >= how.least_seconds and len(record.words) >= how.words_per_second * seconds:
                yield record


def _spoken_spans(words: Sequence[TimedWord], silence_seconds: float) -> Iterator[tuple[int, int]]:
    """Whole seconds from and to which somebody speaks without a longer pause."""
    first = 0
    for index, word in enumerate(words):
        is_last = index + 1 == len(words)
        if is_last or words[index + 1].start_seconds - word.end_seconds > silence_seconds:
            yield int(words[first].start_seconds + _SLACK_SECONDS), math.ceil(word.end_seconds - _SLACK_SECONDS)
            first = index + 1


def _chunk(transcript: Transcript, start: int, seconds: int) -> Record:
    ends = [word.end_seconds for word in transcript.words]
    first, last = _n_until(ends, start), _n_until(ends, start + seconds)
    asked = [item for item in transcript.asked if start < item.time_seconds <= start + seconds]
    return Record(
        video=transcript.video,
        start_seconds=float(start),
        end_seconds=float(start + seconds),
        words=transcript.words[first:last],
        query=transcript.query,
        previous=" ".join(word.text for word in transcript.words[:first]),
        asked=tuple(asked),
        title=transcript.title,
        category=transcript.category,
    )


def _n_until(ends: Sequence[float], seconds: float) -> int:
    """How many words have ended by then."""
    return bisect.bisect_right(ends, seconds + _SLACK_SECONDS)
