"""Frames by the clock: what is late is dropped and counted, and nobody knows what has not been shown."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import hermes_stream.evals.wall_clock as wall_clock
from hermes_stream import Engine, Session
from hermes_stream.evals.asking import Given
from hermes_stream.evals.item import END, Item
from hermes_stream.evals.one_pass import clips_of
from hermes_stream.evals.task import Task
from hermes_stream.evals.wall_clock import WallClock, highest_fps
from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.models.load import load_adapter
from hermes_stream.types import VisualTokens
from tests.evals.asked import Plain, plain_item
from tests.evals.test_asking import Telling
from tests.tiny import make_frames

SLOW_SECONDS = 0.02


class Slow:
    """An adapter that takes its time for each frame."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def embed_clips(self, clips: Sequence[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        time.sleep(SLOW_SECONDS * sum(len(clip.frames) for clip in clips))
        return self._adapter.embed_clips(clips, wants_saliency=wants_saliency)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


@pytest.fixture(scope="module")
def engine(llava_folder: Path) -> Iterator[Engine]:
    with Engine(cast(Adapter, Slow(load_adapter(str(llava_folder))))) as engine:
        yield engine


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with engine.open("sliding-window", budget=60) as session:
        yield session


def watch(
    session: Session, items: Sequence[Item], *, speed: float, task: Task | None = None, n: int = 12
) -> tuple[WallClock, list[Given]]:
    task = task or Plain()
    (clip,) = clips_of(task, items)
    by_clock = WallClock(session, task, {}, fps=1.0, speed=speed)
    return by_clock, [given for some in by_clock.run(make_frames(n), clip) for given in some]


def test_every_question_is_answered_by_what_was_shown_before_it(session: Session) -> None:
    items = [plain_item(at, at) for at in (2.0, 5.5, 9.0)]
    _, given = watch(session, items, speed=20)
    assert sorted(one.reply.key for one in given) == ["2.0", "5.5", "9.0"]
    for one in given:
        assert one.reply.error is None
        assert one.reply.time_seconds <= one.item.ask_seconds
        assert one.answer is not None
        assert one.answer.ttft_seconds > 0


def test_the_clock_is_kept(session: Session) -> None:
    start = time.perf_counter()
    watch(session, [plain_item("end", END)], speed=20)
    # Eleven seconds and a tick at twenty times their speed.
    assert time.perf_counter() - start >= 12 / 20


def test_frames_that_come_too_fast_are_dropped_and_counted(session: Session) -> None:
    by_clock, given = watch(session, [plain_item("end", END)], speed=1e6, n=80)
    assert by_clock.arrivals.n_offered == 80
    assert by_clock.arrivals.n_dropped > 0
    while session.stats.waiting_frames:
        time.sleep(0.01)
    assert session.stats.frames_seen + session.stats.frames_dropped == 80
    assert given[0].reply.error is None


def test_dialogues_stay_in_order(session: Session) -> None:
    items = [plain_item(n, 3.0, f"Number {n}?", dialogue="d") for n in range(3)]
    _, given = watch(session, items, speed=50, task=Telling())
    assert [one.reply.key for one in given] == ["0", "1", "2"]
    # Each prompt quotes what was said before.
    lengths = [one.answer.n_prompt_tokens for one in given if one.answer is not None]
    assert lengths == sorted(set(lengths))
    assert len(lengths) == 3


def test_a_session_that_is_gone_is_an_error_of_what_is_left(engine: Engine) -> None:
    session = engine.open("sliding-window", budget=60)
    items = [plain_item("a", 1.0)]
    session.close()
    with pytest.raises(Exception, match="closed"):
        watch(session, items, speed=50)


def test_the_highest_rate_is_below_what_the_encoder_takes(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_clock, "_SUSTAIN_SECONDS", 0.4)
    pictures = [np.full((32, 32, 3), shade, dtype=np.uint8) for shade in range(4)]
    rate = highest_fps(session, pictures, 1.0)
    # As many as may wait go unnoticed, in a try that shows three intervals at least.
    n_shown, n_waiting = 3 * session.chunk_frames, session.max_waiting_frames
    assert 0 < rate <= 1 / SLOW_SECONDS * n_shown / (n_shown - n_waiting)
    session.check_invariants()
