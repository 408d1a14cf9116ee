"""Warming up changes what comes later in nothing but time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_stream import Engine, SlidingWindow
from hermes_stream.errors import ConfigError
from hermes_stream.models.load import load_adapter
from tests.tiny import make_frames


def _answer(engine: Engine) -> tuple[int, ...]:
    with engine.open(SlidingWindow(budget=30)) as session:
        session.watch(make_frames(6))
        return session.ask("Which colour?", max_new_tokens=6).result().token_ids


def test_a_cpu_is_warmed_up_by_a_question_and_says_why_nothing_is_recorded(llava_folder: Path) -> None:
    with Engine(load_adapter(str(llava_folder))) as engine:
        before, stats = _answer(engine), engine.stats
        done = engine.warm_up(sessions=4)
        assert done.seconds > 0
        assert (done.captures, done.reason) == ((), "the device is cpu: graphs are CUDA's")
        assert engine.stats == stats
        assert _answer(engine) == before


@pytest.mark.parametrize("sizes", [{"questions": 0}, {"sessions": 0}])
def test_a_warm_up_for_nothing_is_refused(engine: Engine, sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"at least 1"):
        engine.warm_up(**sizes)
