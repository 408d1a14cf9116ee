"""Warming up changes what comes later in nothing but time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, SlidingWindow
from hermes_stream.engine import selfcheck, worker
from hermes_stream.engine.graphs.recorder import CallAgain
from hermes_stream.engine.graphs.static_forwards import StaticForwards
from hermes_stream.errors import ConfigError
from hermes_stream.memory.backends import flash
from hermes_stream.memory.backends.packed import FlashBackend
from hermes_stream.memory.backends.reference import ReferenceBackend
from hermes_stream.models.load import load_adapter
from tests.oracles.packed_attention_oracle import packed_attention_by_segment
from tests.tiny import make_frames, save_checkpoint


def _answer(engine: Engine) -> tuple[int, ...]:
    with engine.open(SlidingWindow(budget=30)) as session:
        session.watch(make_frames(6))
        return session.ask("Which colour?", max_new_tokens=6).result().token_ids


def test_a_cpu_is_warmed_up_by_a_question_and_says_why_nothing_is_recorded(llava_folder: Path) -> None:
    with Engine(load_adapter(str(llava_folder))) as engine:
        before, stats = _answer(engine), engine.stats
        done = engine.warm_up(sessions=4)
        assert done.seconds > 0
        assert done.captures == ()
        assert done.reason.startswith("memory attention is reference: PyTorch's operators, because")
        assert engine.stats == stats
        assert _answer(engine) == before


@pytest.mark.parametrize("sizes", [{"questions": 0}, {"sessions": 0}])
def test_a_warm_up_for_nothing_is_refused(engine: Engine, sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"at least 1"):
        engine.warm_up(**sizes)


class _Counting(CallAgain):
    """Counts how often what it recorded ran again."""

    n_replays = 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            self.n_replays += 1
            work()

        work()
        return replay


def test_an_engine_that_replays_answers_as_one_that_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sessions asked at once while one of them watches; the captured engine stands in the arena on a CPU."""
    folder = str(save_checkpoint("llava_onevision", tmp_path / "llava", num_hidden_layers=4))
    recorder = _Counting()
    monkeypatch.setattr(flash, "kernel", packed_attention_by_segment)
    monkeypatch.setattr(worker, "static_forwards", lambda adapter: StaticForwards(adapter, lambda: recorder))
    found = []
    for backend in (FlashBackend(), ReferenceBackend()):
        adapter = load_adapter(folder, dtype="float64")
        adapter.backend = backend  # type: ignore[misc]
        with Engine(adapter) as engine:
            done = engine.warm_up(questions=16, sessions=3)
            assert bool(done.captures) == (backend.name == "flash")
            assert engine.stats.captures == done.captures
            found.append(_conversation(engine))
        if backend.name == "flash":
            assert recorder.n_replays > 3
            n_replays = recorder.n_replays
    assert found[0] == found[1]
    assert recorder.n_replays == n_replays


def _conversation(engine: Engine) -> list[tuple[int, ...]]:
    with ExitStack() as stack:
        sessions = [stack.enter_context(engine.open(SlidingWindow(budget=30 + 9 * index))) for index in range(3)]
        for index, session in enumerate(sessions):
            session.watch(make_frames(3 + index, seed=index))
        answers = [session.ask("left?", max_new_tokens=5) for session in sessions]
        sessions[0].watch(make_frames(4, seed=9, start=3))
        return [answer.result().token_ids for answer in (*answers, sessions[0].ask("right?", max_new_tokens=5))]


def test_doctors_check_of_captured_forwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there where something can be captured, passes, and fails with a capture."""
    adapter = load_adapter(str(save_checkpoint("qwen3_vl", tmp_path / "qwen3", num_hidden_layers=3)), dtype="float64")
    adapter.backend = FlashBackend()  # type: ignore[misc]
    monkeypatch.setattr(flash, "kernel", packed_attention_by_segment)
    for recorder, is_good in ((CallAgain(), True), (_Refusing(), False)):
        static = StaticForwards(adapter, lambda recorder=recorder: recorder)
        monkeypatch.setattr(selfcheck, "static_forwards", lambda _, static=static: static)
        with torch.inference_mode():
            difference = selfcheck._captured_equals_eager(adapter, make_frames(4))
        assert (difference < 1e-9) == is_good


class _Refusing(CallAgain):
    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("no")
