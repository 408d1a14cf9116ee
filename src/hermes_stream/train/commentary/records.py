"""Training samples of commentary in the published format, read from disk one at a time.

One JSON array per line, the user's message (a span of a video, the query, all words said before) and the assistant's
(word-timed text). `<stem>_with_seeks.jsonl` holds the lines, `<stem>_seeks.jsonl` one JSON list of where each begins,
in bytes. Times count from the beginning of the video.

Source: StreamingVLM's released code (MIT).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from hermes_stream.errors import ConfigError
from hermes_stream.types import TimedWord

_LOG = logging.getLogger(__name__)
_RECORDS, _SEEKS = "_with_seeks.jsonl", "_seeks.jsonl"


@dataclass(frozen=True, slots=True)
class AskedMidway:
    """A question during a video, and its answer."""

    name: str
    time_seconds: float
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Record:
    """A chunk of a video with its commentary.

    video: path of the file, relative to the folder of all videos. query: the instruction; empty for none. previous: all
    words before the chunk. words: in time order, each in the second in which it ends. asked: in time order.
    """

    video: str
    start_seconds: float
    end_seconds: float
    words: tuple[TimedWord, ...]
    query: str = ""
    previous: str = ""
    asked: tuple[AskedMidway, ...] = ()
    title: str = ""
    category: str = ""

    def to_line(self) -> str:
        """Without the newline."""
        video = {
            "type": "video",
            "video": self.video,
            "video_start": self.start_seconds,
            "video_end": self.end_seconds,
        }
        text = {
            "type": "text",
            "text": self.query,
            "previous": self.previous,
            "title": self.title,
            "category": self.category,
        }
        stream = {
            "type": "text_stream",
            "text_stream": [[word.start_seconds, word.end_seconds, word.text] for word in self.words],
            "qa_stream": [[asked.name, asked.time_seconds, asked.question, asked.answer] for asked in self.asked],
        }
        turns = [{"role": "user", "content": [video, text]}, {"role": "assistant", "content": [stream]}]
        return json.dumps(turns, ensure_ascii=False)

    @staticmethod
    def from_line(line: str | bytes) -> Record:
        """Raises ConfigError for what is no record; `qa_stream`, `previous`, `title` and `category` may be missing."""
        try:
            user, assistant = json.loads(line)
            video, text = user["content"]
            (stream,) = assistant["content"]
            return Record(
                video=str(video["video"]),
                start_seconds=float(video["video_start"]),
                end_seconds=float(video["video_end"]),
                words=tuple(
                    TimedWord(float(start), float(end), str(word)) for start, end, word in stream["text_stream"]
                ),
                query=str(text.get("text") or ""),
                previous=str(text.get("previous") or ""),
                asked=tuple(_asked(item) for item in stream.get("qa_stream") or ()),
                title=str(text.get("title") or ""),
                category=str(text.get("category") or ""),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            shown = line if isinstance(line, str) else line.decode(errors="replace")
            raise ConfigError(
                f"a record of commentary cannot be read ({type(error).__name__}: {error}); it begins {shown[:80]!r}"
            ) from error


def _asked(item: Sequence[Any]) -> AskedMidway:
    name, time_seconds, question, answer = item
    return AskedMidway(str(name), float(time_seconds), str(question), str(answer))


def write_records(stem: Path, records: Iterable[Record]) -> int:
    """Write `<stem>_with_seeks.jsonl` and its seek file, each complete or not at all; returns the number of records."""
    path, seek_path = _paths(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [path.with_name(f".{path.name}.part"), path.with_name(f".{seek_path.name}.part")]
    offsets: list[int] = []
    with parts[0].open("wb") as file:
        for record in records:
            offsets.append(file.tell())
            file.write(record.to_line().encode() + b"\n")
    parts[1].write_text(json.dumps(offsets) + "\n")
    os.replace(parts[0], path)
    os.replace(parts[1], seek_path)
    return len(offsets)


class RecordFile(Sequence[Record]):
    """The records of one stem; each is read when it is asked for.

    path: of the lines, or the stem. A missing seek file is made anew in memory, by reading the lines once. Raises
    ConfigError for a file that is missing, and for a seek file that is not of these lines.
    """

    def __init__(self, path: Path) -> None:
        self.path, seek_path = _paths(path)
        if not self.path.is_file():
            raise ConfigError(f"{self.path}: no such file of records; cut some with `hermes-stream train cut`")
        if seek_path.is_file():
            self._offsets = _read_offsets(seek_path, self.path)
        else:
            _LOG.warning("%s is missing; reading all of %s instead", seek_path.name, self.path.name)
            self._offsets = list(_line_starts(self.path))

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        with self.path.open("rb") as file:
            file.seek(self._offsets[index])
            line = file.readline()
        try:
            return Record.from_line(line)
        except ConfigError as error:
            raise ConfigError(f"{self.path.name}, record {index}: {error}") from error


def _paths(path: Path) -> tuple[Path, Path]:
    stem = path.name.removesuffix(_RECORDS).removesuffix(_SEEKS)
    return path.with_name(stem + _RECORDS), path.with_name(stem + _SEEKS)


def _line_starts(path: Path) -> Iterator[int]:
    start = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield start
            start += len(line)


def _read_offsets(seek_path: Path, path: Path) -> list[int]:
    try:
        offsets = json.loads(seek_path.read_text(encoding="utf-8"))
        is_fitting = all(type(offset) is int and offset >= 0 for offset in offsets)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{seek_path}: not a JSON list of byte offsets ({error}); delete it to have it made anew"
        ) from error
    # A line begins where a line ended.
    if is_fitting and offsets:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(offsets[-1] - 1, 0))
            is_fitting = offsets[-1] < size and (offsets[-1] == 0 or file.read(1) == b"\n")
    if not is_fitting:
        raise ConfigError(f"{seek_path}: the offsets are not those of {path.name}; delete it to have it made anew")
    return list(offsets)
