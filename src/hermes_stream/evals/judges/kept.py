"""Answers kept on disk: what was asked once is not asked again, whenever the process ended."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from hermes_stream.errors import TaskError
from hermes_stream.evals.judges.endpoint import Asker, Message, RequestRefused, Said


class KeptAnswers:
    """Texts by key in a file of JSON lines, to which lines are only ever added.

    Each line is written at once behind a line break of its own, so that part of a line, left by a process that was
    killed, spoils neither those before nor those behind it; several processes may add to one file.
    """

    def __init__(self, path: Path) -> None:
        """Raises TaskError where the file cannot be read or written."""
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            self._known = dict(filter(None, map(_entry, path.read_bytes().split(b"\n"))))
        except OSError as error:
            raise TaskError(f"{path} cannot hold a judge's answers ({error.strerror}); name another file") from error

    def get(self, key: str) -> Said | None:
        return self._known.get(key)

    def put(self, key: str, said: Said) -> None:
        """On disk when this returns, whatever becomes of the process. Raises TaskError where the disk is full."""
        line = json.dumps({"key": key, "model": said.model, "text": said.text}, ensure_ascii=False)
        with self._lock:
            self._known[key] = said
            try:
                os.write(self._file, b"\n" + line.encode())
            except OSError as error:
                raise TaskError(
                    f"a judge's answer cannot be written to {self._path} ({error.strerror}); make room"
                ) from error

    def close(self) -> None:
        os.close(self._file)


class KeptAsker:
    """An `Asker` whose answers are kept. Once that fails, only what is kept is answered, until a new start."""

    def __init__(self, asker: Asker, answers: KeptAnswers) -> None:
        self._asker, self._answers = asker, answers
        self._failure: str | None = None
        self._models: set[str] = set()

    @property
    def manifest(self) -> dict[str, str]:
        """served_model: all names under which the endpoint has answered."""
        return {**self._asker.manifest, "served_model": ", ".join(sorted(self._models))}

    def key(self, messages: Sequence[Message]) -> str:
        return self._asker.key(messages)

    def ask(self, messages: Sequence[Message]) -> Said:
        said = self._answers.get(self.key(messages)) or self._ask(messages)
        self._models.add(said.model)
        return said

    def _ask(self, messages: Sequence[Message]) -> Said:
        if self._failure is not None:
            raise TaskError(self._failure)
        try:
            said = self._asker.ask(messages)
            self._answers.put(self.key(messages), said)
        except RequestRefused:
            raise
        except TaskError as error:
            self._failure = str(error)
            raise
        return said


def _entry(line: bytes) -> tuple[str, Said] | None:
    """None for part of a line."""
    try:
        entry = json.loads(line)
        return entry["key"], Said(entry["text"], entry["model"])
    except (ValueError, LookupError, TypeError):
        return None
