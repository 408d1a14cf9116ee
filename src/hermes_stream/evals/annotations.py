"""Reading annotation files as they are published, and saying by file and record what is wrong with them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from hermes_stream.errors import TaskError
from hermes_stream.evals.item import Item

ProblemKind = Literal["malformed", "duplicate", "missing-video", "repaired"]
VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif", ".MP4", ".npy")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as published.

    malformed, duplicate: the record is left out. missing-video: its items stay, and cannot be asked. repaired: the
    record is known to be odd and was understood all the same. video: of a missing one.
    """

    kind: ProblemKind
    where: str
    message: str
    video: str | None = None

    @property
    def is_loss(self) -> bool:
        """Whether a question cannot be asked because of it."""
        return self.kind != "repaired"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class MalformedRecord(Exception):
    """A record lacks a field, or has one that cannot be used; caught where records become items."""


class Record:
    """One entry of a file, whose fields are asked for by name. Methods raise MalformedRecord, naming the field."""

    def __init__(self, values: Any, file: str, index: int | str) -> None:
        self._values = values if isinstance(values, Mapping) else {}
        self.file, self.index = file, index
        self.is_mapping = isinstance(values, Mapping)

    @property
    def where(self) -> str:
        return f"{self.file}, record {self.index}"

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """The raw value, for what may be anything."""
        return self._values.get(name, default)

    def text(self, name: str) -> str:
        """A text that is not empty; numbers are taken as texts, as ids often are."""
        value = self._required(name)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
            raise self._bad(name, value, "a text")
        return str(value)

    def number(self, name: str) -> float:
        value = self._required(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise self._bad(name, value, "a number")
        return float(value)

    def integer(self, name: str) -> int:
        value = self._required(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._bad(name, value, "a whole number")
        return value

    def texts(self, name: str, at_least: int = 1) -> list[str]:
        value = self._required(name)
        if not isinstance(value, (list, tuple)) or len(value) < at_least:
            raise self._bad(name, value, f"a list of {at_least} texts or more")
        return [str(each) for each in value]

    def records(self, name: str) -> list[Record]:
        """The records inside this one."""
        value = self._required(name)
        if not isinstance(value, (list, tuple)):
            raise self._bad(name, value, "a list of records")
        return [Record(each, self.file, f"{self.index}, {name} {index}") for index, each in enumerate(value)]

    def rest(self, *known: str) -> dict[str, Any]:
        """All other fields."""
        return {name: value for name, value in self._values.items() if name not in known}

    def malformed(self, message: str) -> MalformedRecord:
        """For what only the benchmark knows to be wrong; to be raised."""
        return MalformedRecord(message)

    def _required(self, name: str) -> Any:
        if not self.is_mapping:
            raise MalformedRecord("is no record with named fields")
        if not self.has(name):
            raise MalformedRecord(f"has no {name!r}")
        return self._values[name]

    def _bad(self, name: str, value: Any, expected: str) -> MalformedRecord:
        return MalformedRecord(f"has {name!r} = {str(value)[:60]!r}; expected {expected}")


class Annotations:
    """The files of one benchmark in a data folder; collects problems while they are read.

    sha256: of the bytes of all files read so far, in that order.
    """

    def __init__(self, data: Path, title: str, expected: str) -> None:
        """Raises TaskError if the folder does not exist. title, expected: of the benchmark, for messages."""
        if not data.is_dir():
            raise TaskError(f"{data} is no folder; --data names the one that holds {expected}")
        self.data, self.problems = data, list[Problem]()
        self._title, self._expected = title, expected
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def find(self, *patterns: str) -> list[Path]:
        """The files that the first pattern with any matches, sorted. Raises TaskError where none does."""
        for pattern in patterns:
            if found := sorted(path for path in self.data.glob(pattern) if path.is_file()):
                return found
        raise TaskError(
            f"{self.data} holds no {self._title}: there is no {' or '.join(patterns)}; it should hold {self._expected}"
        )

    def records(self, path: Path) -> list[Record]:
        """The entries of a JSON list, of JSON lines, or of a table in Parquet or CSV.

        An entry that is a list stands for its entries. Raises TaskError for other content.
        """
        name = str(path.relative_to(self.data))
        content = path.read_bytes()
        self._hash.update(content)
        return [Record(row, name, index) for index, row in _numbered(_rows(path, content))]

    def has(self, pattern: str) -> bool:
        """Whether a file matches."""
        return any(path.is_file() for path in self.data.glob(pattern))

    def mapping(self, path: Path) -> dict[str, Any]:
        """A JSON object, as of labels by id. Raises TaskError for other content."""
        content = path.read_bytes()
        self._hash.update(content)
        try:
            values = json.loads(content)
        except ValueError as error:
            raise TaskError(f"{path} is not readable as JSON ({error}); download it again") from error
        if not isinstance(values, dict):
            raise TaskError(
                f"{path} holds no labels by id, but {type(values).__name__}; give the file as it is published"
            )
        return values

    def make(self, records: Iterable[Record], make: Callable[[Record], Iterable[_T]]) -> Iterator[_T]:
        """What is made of each record; a malformed one is a problem, and nothing is made of it."""
        for record in records:
            try:
                made = list(make(record))
            except MalformedRecord as error:
                self.problems.append(Problem("malformed", record.where, str(error)))
                continue
            yield from made

    def repaired(self, record: Record, message: str) -> None:
        """Note that a record is odd and was understood."""
        self.problems.append(Problem("repaired", record.where, message))

    def video(self, *candidates: str) -> str:
        """The first of these paths below the data folder at which there is something, else the first of them.

        One at which there is nothing yet, as while it is loaded, comes before those that do not exist. A candidate
        without an ending is tried with all that videos have.
        """
        paths = [each for given in candidates for each in _spellings(given)]
        there = [path for path in paths if (self.data / path).exists()]
        return next((path for path in there if _has_content(self.data / path)), (there or paths)[0])

    def settle(self, items: Iterable[Item]) -> tuple[Item, ...]:
        """Items in the order in which they are asked, without duplicates; notes those and videos that are not there."""
        known: dict[str, Item] = {}
        for item in items:
            if item.qid in known:
                self.problems.append(Problem("duplicate", item.qid, "is the id of two records; the first is used"))
            else:
                known[item.qid] = item
        for video, n_items in Counter(item.video for item in known.values()).items():
            if not self.has_video(video):
                message = f"is missing or empty; {n_items} question{'s ask' if n_items > 1 else ' asks'} about it"
                self.problems.append(Problem("missing-video", video, message, video))
        return tuple(_in_order(known.values()))

    def has_video(self, video: str) -> bool:
        return _has_content(self.data / video)


def _in_order(items: Iterable[Item]) -> Iterator[Item]:
    """Videos as they first come; in each by time, and in the files' order where times are equal."""
    by_video: dict[str, list[Item]] = {}
    for item in items:
        by_video.setdefault(item.video, []).append(item)
    for of_video in by_video.values():
        in_time = sorted(of_video, key=lambda item: item.ask_seconds)
        yield from (replace(item, order=order) for order, item in enumerate(in_time))


def _has_content(path: Path) -> bool:
    if path.is_dir():
        return next(path.iterdir(), None) is not None
    return path.is_file() and path.stat().st_size > 0


def _spellings(path: str) -> list[str]:
    """A path with its ending; without one it may be that of a folder of pictures."""
    return [path] if path.endswith(VIDEO_ENDINGS) else [*(path + ending for ending in VIDEO_ENDINGS), path]


def _rows(path: Path, content: bytes) -> list[Any]:
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path, content) if path.suffix == ".csv" else _json_rows(path, content)


def _numbered(rows: Iterable[Any]) -> Iterator[tuple[int | str, Any]]:
    for index, row in enumerate(rows):
        if isinstance(row, list):
            yield from ((f"{index}, entry {place}", entry) for place, entry in enumerate(row))
        else:
            yield index, row


def _csv_rows(path: Path, content: bytes) -> list[Any]:
    try:
        return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (ValueError, csv.Error) as error:
        raise TaskError(f"{path} is not readable as CSV ({error}); download it again") from error


def _json_rows(path: Path, content: bytes) -> list[Any]:
    try:
        text = content.decode("utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        rows = json.loads(text)
    except ValueError as error:
        raise TaskError(f"{path} is not readable as JSON ({error}); download it again") from error
    if not isinstance(rows, list):
        raise TaskError(f"{path} holds no list of records, but {type(rows).__name__}; give the file as it is published")
    return rows


def _parquet_rows(path: Path) -> list[Any]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise TaskError(f"{path} is a Parquet table; install pyarrow to read it, or give its rows as JSON") from error
    rows: list[Any] = parquet.read_table(path).to_pylist()
    return rows
