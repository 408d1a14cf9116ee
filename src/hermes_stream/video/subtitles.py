"""Subtitles written as they come: SubRip and WebVTT files that are whole after every cue."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from hermes_stream.errors import ConfigError


class Form(StrEnum):
    """SubRip, or WebVTT."""

    SRT = "srt"
    VTT = "vtt"


class SubtitleFile:
    """One file of subtitles, begun anew. Use it as a context manager, or `close()` it.

    Each cue is handed to the system in one piece: whatever ends the process, the file ends with a whole cue.
    """

    def __init__(self, path: str | Path, form: Form) -> None:
        """Raises ConfigError if the file cannot be written."""
        self._form = form
        self._n_cues = 0
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise ConfigError(f"subtitles cannot be written to {path}: {error.strerror}; give another file") from error
        self._write("WEBVTT\n\n" if form is Form.VTT else "")

    def add(self, start_seconds: float, end_seconds: float, text: str) -> None:
        """A cue. What would end it early, or be taken for markup, is written as plain text."""
        words = " ".join(text.split()).replace("-->", "->")
        if not words:
            return
        self._n_cues += 1
        times = f"{clock(start_seconds, self._form)} --> {clock(end_seconds, self._form)}"
        if self._form is Form.VTT:
            words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        number = f"{self._n_cues}\n" if self._form is Form.SRT else ""
        self._write(f"{number}{times}\n{words}\n\n")

    def close(self) -> None:
        """Nothing comes any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, text: str) -> None:
        data = text.encode("utf-8")
        while data:
            data = data[os.write(self._descriptor, data) :]


def clock(seconds: float, form: Form) -> str:
    """A moment as the form writes it: 01:02:03,045 or 01:02:03.045."""
    milliseconds = round(max(seconds, 0.0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    point = "," if form is Form.SRT else "."
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
