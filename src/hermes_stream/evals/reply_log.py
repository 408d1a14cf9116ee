"""Replies of a run as JSON lines, one each, safe against a kill at any moment; and what they came to, read again.

Kinds of line: a reply (`entry`, `key`, ...); once a video is over, `watched`; by the clock, `sustained_fps`. Several
processes write into one folder, each into a file of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hermes_stream.errors import ConfigError
from hermes_stream.evals.item import Reply

_Json = dict[str, Any]
_PATTERN = "replies*.jsonl"


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the videos: every `count`-th, beginning with the `index`-th."""

    index: int = 0
    count: int = 1

    @property
    def suffix(self) -> str:
        """What the names of its files end with."""
        return "" if self.count == 1 else f"-{self.index}-of-{self.count}"

    def has(self, index: int) -> bool:
        """Whether the video of this number is one of its."""
        return index % self.count == self.index

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Of "0/4". Raises ConfigError for anything else."""
        first, _, second = text.partition("/")
        if not (first.isdecimal() and second.isdecimal() and int(first) < int(second)):
            raise ConfigError(
                f"--shard is {text!r}; expected a part and how many there are, as in 0/4 (the first) to 3/4"
            )
        return cls(int(first), int(second))


@dataclass(frozen=True, slots=True)
class Held:
    """What a memory held when it was asked. tokens: of each layer."""

    tokens: tuple[int, ...]
    memory_bytes: int
    archive_bytes: int


@dataclass
class Replies:
    """What the files of a folder say: replies by entry and key, and of each video what was noted at its end.

    held: the most that any question of an entry found. ttft_seconds: of each answer, by the clock. sustained_fps: how
    many frames a second an entry keeps up with.
    """

    by_entry: defaultdict[str, dict[str, Reply]] = field(default_factory=lambda: defaultdict(dict))
    held: dict[str, Held] = field(default_factory=dict)
    watched: list[_Json] = field(default_factory=list)
    ttft_seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    sustained_fps: dict[str, float] = field(default_factory=dict)

    def answered(self, entry: str) -> dict[str, Reply]:
        """Those that need not be asked for again: all but errors."""
        return {key: reply for key, reply in self.by_entry[entry].items() if reply.error is None}

    def join(self, other: Replies) -> None:
        """Add what another folder says; what is known stays."""
        for entry, replies in other.by_entry.items():
            self.by_entry[entry] = replies | self.by_entry[entry]
        self.held = other.held | self.held
        self.watched += other.watched
        self.sustained_fps = other.sustained_fps | self.sustained_fps
        for entry, seconds in other.ttft_seconds.items():
            self.ttft_seconds[entry] += seconds

    def _add(self, line: _Json) -> None:
        if "watched" in line:
            self.watched.append(line)
            return
        if "sustained_fps" in line:
            self.sustained_fps[line["entry"]] = line["sustained_fps"]
            return
        entry, reply = line["entry"], _reply(line)
        before = self.by_entry[entry].get(reply.key)
        # A second start asks again where there was an error, and never where there was an answer.
        if before is None or before.error is not None:
            self.by_entry[entry][reply.key] = reply
        if "ttft_s" in line:
            self.ttft_seconds[entry].append(line["ttft_s"])
        if "held_tokens" in line:
            held = Held(tuple(line["held_tokens"]), line["bytes"], line["archive_bytes"])
            self.held[entry] = max(self.held.get(entry, held), held, key=lambda one: sum(one.tokens))


class ReplyLog:
    """Appends to one file of a folder while a run goes on. A context manager.

    Lines are whole or, the last one, not there: a torn one is cut off when the file is opened again.
    """

    def __init__(self, folder: Path, shard: Shard) -> None:
        """Raises ConfigError while another process writes this file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"replies{shard.suffix}.jsonl"
        self._file = path.open("ab+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConfigError(f"{path} is being written by another run; wait for it, or give another --out") from error
        _cut_torn_line(self._file)

    def put(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write lines; when this returns, a kill of the process loses none of them."""
        self._file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        self._file.flush()

    def sync(self) -> None:
        """Wait until a loss of power would lose nothing either."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_replies(folder: Path) -> Replies:
    """Everything in a folder; empty where nothing was written yet. Raises ConfigError for lines that are no replies."""
    replies = Replies()
    for path in sorted(folder.glob(_PATTERN)):
        for number, line in enumerate(_whole_lines(path), start=1):
            try:
                replies._add(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{path}, line {number} is no reply ({error}); take it out, or give another folder"
                ) from error
    return replies


def count_replies(folder: Path) -> int:
    """Lines so far, of all processes: how far they are."""
    return sum(sum(1 for _ in _whole_lines(path)) for path in folder.glob(_PATTERN))


def reply_line(entry: str, reply: Reply, held: Held | None) -> _Json:
    """A line; what is as by default is left out."""
    line: _Json = {"entry": entry, "key": reply.key, "text": reply.text, "time_s": round(reply.time_seconds, 3)}
    if reply.probabilities is not None:
        line["probabilities"] = {choice: round(value, 6) for choice, value in reply.probabilities.items()}
    if reply.error is not None:
        line["error"] = reply.error
    if reply.flags:
        line["flags"] = list(reply.flags)
    if held is not None:
        line |= {"held_tokens": list(held.tokens), "bytes": held.memory_bytes, "archive_bytes": held.archive_bytes}
    return line


def _reply(line: _Json) -> Reply:
    return Reply(
        key=line["key"],
        text=line["text"],
        time_seconds=line["time_s"],
        probabilities=line.get("probabilities"),
        error=line.get("error"),
        flags=tuple(line.get("flags", ())),
    )


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def _cut_torn_line(file: Any) -> None:
    """What stands behind the last line's end was never whole."""
    file.seek(0)
    end = file.read().rfind(b"\n") + 1
    file.truncate(end)
    file.seek(end)
