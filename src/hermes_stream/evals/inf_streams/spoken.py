"""What was said in a run, piece by piece, in the published format of predictions: written as it goes, read by anybody.

A run is a folder with `run.json`, its settings, and `pieces.jsonl`: a line for each piece of each video,
`{"video", "chunk_start", "chunk_end", "items": [{"start_time", "end_time", "response"}]}`. Predictions of others are a
file of the same lines, or of one line for each video.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, Self

from hermes_stream.errors import ConfigError, TaskError
from hermes_stream.evals.inf_streams.games import Segment

RUN_FILE = "run.json"
PIECES_FILE = "pieces.jsonl"

_Json = dict[str, Any]
_OF_SCORING = {"min_words"}
_NO_NAME = re.compile(r"[^A-Za-z0-9.=+,-]+")


@dataclass(frozen=True, slots=True)
class Said:
    """Words about some seconds."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """All that was said about one part of a video."""

    video: str
    start_seconds: int
    end_seconds: int
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Spoken:
    """All pieces of a run, by video and in order. n_broken: lines that could not be read, as a kill leaves one."""

    name: str
    settings: Mapping[str, Any]
    pieces: Mapping[str, Sequence[Piece]]
    n_broken: int = 0

    def covers(self, segment: Segment) -> bool:
        """Whether its video was watched all through this segment."""
        reached = segment.start_seconds
        for piece in self.pieces.get(segment.video, ()):
            if piece.start_seconds <= reached:
                reached = max(reached, piece.end_seconds)
        return reached >= segment.end_seconds

    def text(self, segment: Segment) -> str:
        """What was said there: words whose whole second of ending lies in `(start, end]`, as in the release."""
        pieces = self.pieces.get(segment.video, ())
        texts = [
            said.text.strip()
            for piece in pieces
            for said in piece.said
            if segment.start_seconds < int(said.end_seconds) <= segment.end_seconds
        ]
        return " ".join(filter(None, texts))


class RunLog:
    """A run that is being made. Whatever ends the process, whole pieces stay; a second one goes on behind them.

    One process at a time. Use it as a context manager, or `close()` it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """settings: what must be the same to go on, but for how much must be said in a segment for it to be scored.

        Raises ConfigError where the folder holds a run with other settings, or another process makes it, or it cannot
        be written.
        """
        self.folder, self.settings = folder, settings
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / PIECES_FILE).open("ab+", buffering=0)
        except OSError as error:
            raise ConfigError(f"{folder} cannot hold a run ({error.strerror}); name another folder") from error
        try:
            self._claim()
            self._done = {video: list(pieces) for video, pieces in read_spoken(folder).pieces.items()}
        except BaseException:
            self.close()
            raise

    def pieces(self, video: str) -> Sequence[Piece]:
        """Those that are done, in order."""
        return self._done.get(video, ())

    def put(self, piece: Piece) -> None:
        """On disk when this returns. Raises TaskError where the disk is full."""
        line = json.dumps(_piece_row(piece), ensure_ascii=False).encode() + b"\n"
        try:
            self._file.write(line if _ends_whole(self._file) else b"\n" + line)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TaskError(f"a piece cannot be written to {self.folder} ({error.strerror}); make room") from error
        self._done.setdefault(piece.video, []).append(piece)

    def close(self) -> None:
        """Let others go on with the run."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state_file(self, video: str, end_seconds: int) -> Path:
        """Where the session is kept that has watched a video up to some time."""
        return self.folder / "state" / f"{video}.{end_seconds}.snapshot"

    def drop_states(self, video: str, but: Path | None = None) -> None:
        """Delete a video's sessions, all but one."""
        for path in (self.folder / "state").glob("*.snapshot"):
            if path.name.rpartition(".snapshot")[0].rpartition(".")[0] == video and path != but:
                path.unlink()

    def _claim(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{self.folder} is being narrated by another process; wait for it") from error
        path = self.folder / RUN_FILE
        if not path.exists():
            unfinished = path.with_name(f"{RUN_FILE}.unfinished")
            unfinished.write_text(json.dumps(self.settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            unfinished.replace(path)
            return
        before = _settings(path)
        names = [name for name in {**before, **self.settings} if name not in _OF_SCORING]
        changed = [name for name in names if before.get(name) != self.settings.get(name)]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"{self.folder} holds a run with {name} {before.get(name)!r}, not {self.settings.get(name)!r}; "
                "name another folder, or go on with the settings of then"
            )


def run_name(settings: Mapping[str, Any]) -> str:
    """Of a run's folder: whose it is, in letters that any file system takes."""
    mode = settings["mode"] + ("-own" if settings.get("past") == "own" else "")
    parts = (settings["model"], settings["policy"], mode)
    return " ".join(_NO_NAME.sub("-", str(part)).strip("-") for part in parts).replace(" ", "_")


def read_runs(path: Path) -> list[Spoken]:
    """The runs in a folder, or below it; or the predictions in a file. Raises TaskError where there are none."""
    if path.is_file() or (path / RUN_FILE).exists():
        return [read_spoken(path)]
    folders = sorted(each.parent for each in path.glob(f"*/{RUN_FILE}"))
    if not folders:
        raise TaskError(f"{path} holds no run; give a folder that `eval commentary --out` wrote, or a predictions file")
    return [read_spoken(folder) for folder in folders]


def read_spoken(path: Path) -> Spoken:
    """One run, or one file of predictions. Raises TaskError for anything else."""
    if path.is_dir():
        name, settings, path = path.name, _settings(path / RUN_FILE), path / PIECES_FILE
        content = path.read_bytes() if path.exists() else b""
    else:
        name, settings = path.stem, {}
        try:
            content = path.read_bytes()
        except OSError as error:
            raise TaskError(f"{path} cannot be read ({error.strerror}); give a file of predictions") from error
    lines = [line for line in content.split(b"\n") if line.strip()]
    pieces = [_piece(line) for line in lines]
    whole = [piece for piece in pieces if piece is not None]
    if lines and not whole:
        raise TaskError(f"{path} holds no predictions; expected lines of video, chunk_start, chunk_end and items")
    return Spoken(name, settings, _by_video(whole), len(pieces) - len(whole))


def _by_video(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    """In order; of two that begin together the longer one, as where predictions were joined from several processes."""
    longest: dict[tuple[str, int], Piece] = {}
    for piece in pieces:
        known = longest.setdefault((piece.video, piece.start_seconds), piece)
        if piece.end_seconds > known.end_seconds:
            longest[piece.video, piece.start_seconds] = piece
    by_video: dict[str, list[Piece]] = {}
    for piece in sorted(longest.values(), key=lambda piece: piece.start_seconds):
        by_video.setdefault(piece.video, []).append(piece)
    return by_video


def _settings(path: Path) -> _Json:
    try:
        settings: _Json = json.loads(path.read_text(encoding="utf-8"))
        return dict(settings)
    except (OSError, ValueError, TypeError) as error:
        raise TaskError(f"{path} does not say how its run was made ({error}); narrate into another folder") from error


def _piece_row(piece: Piece) -> _Json:
    items = [
        {"start_time": said.start_seconds, "end_time": said.end_seconds, "response": said.text} for said in piece.said
    ]
    times = {"chunk_start": piece.start_seconds, "chunk_end": piece.end_seconds}
    return {"video": piece.video, **times, "items": items}


def _piece(line: bytes) -> Piece | None:
    """None for what is none, as part of a line."""
    try:
        row = json.loads(line)
        said = tuple(
            Said(float(item.get("start_time", item["end_time"])), float(item["end_time"]), _text(item))
            for item in row["items"]
            if item.get("end_time") is not None
        )
        return Piece(Path(row["video"]).name, int(row["chunk_start"]), int(row["chunk_end"]), said)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _text(item: Mapping[str, Any]) -> str:
    text = item["response"] if "response" in item else item.get("text")
    return text if isinstance(text, str) else ""


def _ends_whole(file: RawIOBase) -> bool:
    """Whether the last line of a file is whole."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"
