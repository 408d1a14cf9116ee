"""What the command line says: answers on standard output, everything for people on standard error."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hermes_stream.memory.budget import human_bytes as human_bytes

if TYPE_CHECKING:
    from rich.progress import Progress

    from hermes_stream.engine.engine import Engine
    from hermes_stream.engine.session import Session
    from hermes_stream.types import Answer


def say(message: str) -> None:
    """A line for people."""
    print(message, file=sys.stderr, flush=True)


class Notes(logging.Handler):
    """What the rooms below log, as lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "note" if record.levelno <= logging.WARNING else "error"
        say(f"{kind}: {self.format(record)}")


@contextmanager
def saying_notes() -> Iterator[None]:
    """For the length of a command, say what is logged as a warning or worse."""
    logger, handler = logging.getLogger("hermes_stream"), Notes(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def each_note_once() -> Iterator[None]:
    """For commands with many streams, which all may have the same to say."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        is_known = record.getMessage() in said
        said.add(record.getMessage())
        return not is_known

    handlers = list(logging.getLogger("hermes_stream").handlers)
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)


def put_json(row: Mapping[str, Any]) -> None:
    """A row for programs."""
    print(json.dumps(row, ensure_ascii=False), flush=True)


def answer_row(question: str, answer: Answer, policy: str) -> dict[str, Any]:
    """The fields of one answer, as `--json` prints them."""
    return {
        "time_s": round(answer.time_seconds, 3),
        "question": question,
        "answer": answer.text,
        "ttft_ms": round(answer.ttft_seconds * 1000, 2),
        "frames_seen": answer.frames_seen,
        "held_tokens": list(answer.held_tokens),
        "memory_bytes": answer.memory_bytes,
        "policy": policy,
    }


def settings_line(engine: Engine, session: Session, fps: float) -> str:
    """Which defaults are in force; they belong to the model."""
    facts = engine.model
    budget = session.policy.budget_tokens
    limit = "no budget" if budget is None else f"budget {budget} tokens per layer"
    size = f"{facts.n_parameters / 1e6:.1f} M parameters, {facts.n_layers} layers"
    frames = "a frame" if facts.frames_per_grid == 1 else f"for {facts.frames_per_grid} frames"
    return (
        f"model {facts.name} ({size}) · {fps:g} fps, {facts.tokens_per_frame} tokens {frames} · "
        f"memory {session.policy.title}, {limit}, chunk {session.chunk_frames} frames · "
        f"{facts.device}, {str(facts.dtype).removeprefix('torch.')}"
    )


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error that vanishes when done; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
