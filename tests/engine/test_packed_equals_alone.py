"""Law 7: a session in a packed batch gets what it gets alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_stream import Engine, Frame, KeepAll, SlidingWindow
from hermes_stream.engine import worker
from hermes_stream.engine.answer import AnswerStream
from hermes_stream.engine.batch import PackedBatch
from hermes_stream.engine.session import Session
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy
from tests.engine.direct import make_task, open_direct, question_logits, watch_direct, watch_packed
from tests.engine.pausing import paused
from tests.tiny import make_frames, save_llava_onevision


@pytest.mark.parametrize(
    "policies",
    [(KeepAll(), SlidingWindow(budget=20)), (SlidingWindow(budget=27), SlidingWindow(budget=40, positions="compact"))],
    ids=["keep-all beside a window", "two windows"],
)
def test_two_sessions_packed_equal_two_alone(llava_folder: Path, policies: tuple[Policy, Policy]) -> None:
    # Rounding out of the way, so that any difference is a mistake.
    adapter = load_adapter(str(llava_folder), dtype="float64")
    clips = [make_frames(10, seed=1), make_frames(10, seed=2)]
    ragged = [((0, 2), (0, 1)), ((2, 4), (1, 4)), ((4, 7), (4, 6)), ((7, 8), (6, 8)), ((8, 10), (8, 10))]
    alone = [open_direct(adapter, policy) for policy in policies]
    packed = [open_direct(adapter, policy) for policy in policies]
    for spans in ragged:
        batches = [clip[start:stop] for clip, (start, stop) in zip(clips, spans, strict=True)]
        watch_packed(packed, batches)
        for stream, batch in zip(alone, batches, strict=True):
            watch_direct(stream, batch, len(batch))
    tasks = [make_task(stream, "red or green?")[0] for stream in packed]
    with torch.inference_mode():
        batch = PackedBatch([task.segment() for task in tasks], adapter.rope)
        logits_LV = adapter.logits(adapter.run(batch)[batch.last_rows])
    for stream, twin, logits_V in zip(alone, packed, logits_LV, strict=True):
        torch.testing.assert_close(logits_V, question_logits(stream, "red or green?"), atol=1e-9, rtol=0)
        for a, b in zip(stream.memory.current.layers, twin.memory.current.layers, strict=True):
            assert torch.equal(a.table.data_CHN, b.table.data_CHN)


def test_sessions_that_watch_and_ask_at_once_answer_as_if_alone(engine: Engine) -> None:
    """Eight threads on one engine; each asks while the others' frames and answers go through the same forwards."""
    expected = {}
    for seed in range(8):
        with engine.open(SlidingWindow(budget=30)) as session:
            session.watch(make_frames(10, seed=seed))
            expected[seed] = session.ask("Which colour?", max_new_tokens=8).result().token_ids
    got: dict[int, tuple[int, ...]] = {}

    def run(seed: int) -> None:
        with engine.open(SlidingWindow(budget=30)) as session:
            for frame in make_frames(10, seed=seed):
                session.watch(frame)
                session.ask("left?", max_new_tokens=2)
            got[seed] = session.ask("Which colour?", max_new_tokens=8).result().token_ids

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


# Probes, features, front-ends, summaries, new frames that recall one by one.
MEMORIES = (
    "hermes(budget=30)",
    "recent-frames(budget=30)",
    "dtd | sliding-window(budget=27)",
    "v-rex(budget=27)",
    "tiered(budget=30)",
    "sliding-window(budget=27,positions=compact)",
    "keep-all",
    "infinipot-v(budget=27)",
)


@dataclass(eq=False)
class Life:
    """One session and all that it was told.

    clips: what it has watched, a fork's past included. asked: answers on their way, with how many clips were in.
    """

    session: Session
    memory: str
    seed: int
    clips: list[list[Frame]] = field(default_factory=list)
    asked: list[tuple[int, AnswerStream]] = field(default_factory=list)

    def next_clip(self, n_frames: int) -> list[Frame]:
        return make_frames(n_frames, seed=self.seed, start=sum(map(len, self.clips)))

    def fork(self, seed: int) -> Life:
        return replace(self, session=self.session.fork(), seed=seed, clips=list(self.clips), asked=[])


moves = st.sampled_from([1, 2, 3, 6, 9, "ask", "ask", "fork", "close", None])
rounds = st.lists(st.lists(moves, min_size=8, max_size=8), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """Few layers, and rounding out of the way."""
    folder = save_llava_onevision(tmp_path_factory.mktemp("model") / "short", num_hidden_layers=3)
    return load_adapter(str(folder), dtype="float64")


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds, st.integers(1, 80), st.booleans())
def test_any_interleaving_gives_each_session_what_it_gets_alone(
    exact: Adapter, rounds: list[list[int | str | None]], max_forward_tokens: int, overlaps: bool
) -> None:
    """Eight sessions watch, ask, fork and close in any order; questions go on while the next frames come.

    overlaps: whether frames are encoded on a thread of their own.
    """
    with patch.object(worker, "overlaps_vision", lambda device: overlaps):
        engine = Engine(exact, max_forward_tokens=max_forward_tokens)
    with engine:
        lives = [Life(engine.open(memory), memory, seed) for seed, memory in enumerate(MEMORIES)]
        for moves in rounds:
            _play(engine, lives, moves)
        answers = {life: [answer.result().token_ids for _, answer in life.asked] for life in lives}
        logits = {life: question_logits(life.session.stream, "red?") for life in lives}
    for life in lives:
        with Engine(exact) as engine:
            _check(engine, life, answers[life], logits[life])


def _play(engine: Engine, lives: list[Life], moves: list[int | str | None]) -> None:
    """One move of each session, handed over while the engine stands still.

    A fork takes its parent's place while answers to the parent are on their way, a new session that of a closed one.
    """
    coming = []
    with paused(engine):
        for life, move in zip(lives, moves, strict=True):
            if move == "ask":
                life.asked.append((len(life.clips), life.session.ask("left?", max_new_tokens=3)))
            elif isinstance(move, int):
                clip = life.next_clip(move)
                coming.append(engine.submit_watch(life.session, clip))
                life.clips.append(clip)
    for done in coming:
        done.result()
    for index, (life, move) in enumerate(zip(list(lives), moves, strict=True)):
        if move == "fork":
            lives[index] = life.fork(seed=100 + life.seed)
        elif move == "close":
            life.session.close()
            lives[index] = Life(engine.open(life.memory), life.memory, 200 + life.seed)


def _check(engine: Engine, life: Life, answers: list[tuple[int, ...]], logits_V: torch.Tensor) -> None:
    with engine.open(life.memory) as alone:
        told = iter(zip(life.asked, answers, strict=True))
        due = next(told, None)
        for n_clips in range(len(life.clips) + 1):
            while due is not None and due[0][0] == n_clips:
                assert alone.ask("left?", max_new_tokens=3).result().token_ids == due[1]
                due = next(told, None)
            if n_clips < len(life.clips):
                alone.watch(life.clips[n_clips])
        ours, theirs = life.session.memory, alone.memory
        for a, b in zip(ours.layers, theirs.layers, strict=True):
            assert torch.equal(a.table.data_CHN, b.table.data_CHN)
            torch.testing.assert_close(a.keys, b.keys, atol=1e-9, rtol=0)
        torch.testing.assert_close(logits_V, question_logits(alone.stream, "red?"), atol=1e-9, rtol=0)
