"""Memory that runs out, numbers that are none, plans that cannot be: whatever happens to one session, others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from hermes_stream import Engine, Frame, Hermes, Query, Session, SlidingWindow
from hermes_stream.engine.faults import is_out_of_memory
from hermes_stream.errors import LimitError, PlanError, SessionError
from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import parse_memory
from tests.engine.direct import memory_bits
from tests.engine.held_up import held_up
from tests.tiny import make_frames, save_checkpoint

QUESTION = Query("What is left?", max_new_tokens=3)
BLACK = np.zeros((36, 64, 3), np.uint8)


def cpu_runs_out() -> torch.Tensor:
    """What PyTorch itself raises: nobody has a pebibyte."""
    return torch.empty(2**50, dtype=torch.uint8)


def device_runs_out() -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Faulty:
    """An adapter whose forwards and vision tower have room for so many rows and frames, and which a black picture turns
    into NaN.
    """

    def __init__(self, adapter: Any, run_out: Callable[[], Any]) -> None:
        self._adapter, self._run_out = adapter, run_out
        self.most_rows = self.most_frames = 10**9
        self.forwards: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def run(self, batch: Any) -> torch.Tensor:
        """Fails in the middle: what it has written until then must not matter."""
        self.forwards.append(batch.embeddings_TE.shape[0])
        out_TE = self._adapter.run(batch)
        if self.forwards[-1] > self.most_rows:
            self._run_out()
        return out_TE

    def embed_clips(self, clips: Sequence[Any], *, wants_saliency: bool = False) -> Any:
        if sum(len(clip.frames) for clip in clips) > self.most_frames:
            self._run_out()
        results = self._adapter.embed_clips(clips, wants_saliency=wants_saliency)
        for clip, tokens in zip(clips, results, strict=True):
            is_black = torch.tensor([not frame.image_YXC.any() for frame in clip.frames])
            tokens.embeddings_NE[is_black[tokens.frame_N]] = torch.nan
        return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("llava_onevision", tmp_path_factory.mktemp("checkpoints") / "llava", num_hidden_layers=3)


@pytest.fixture(params=[cpu_runs_out, device_runs_out])
def faulty(request: pytest.FixtureRequest, folder: Path) -> Faulty:
    return Faulty(load_adapter(str(folder)), request.param)


@pytest.fixture
def engine(faulty: Faulty) -> Iterator[Engine]:
    with Engine(faulty) as engine:  # type: ignore[arg-type]
        yield engine


def window(engine: Engine) -> Session:
    return engine.open(SlidingWindow(budget=45), chunk=4)


def assert_same_memory(ours: Session, theirs: Session) -> None:
    """In pieces of other sizes, so that numbers differ by rounding (float32)."""
    for a, b in zip(memory_bits(ours.stream), memory_bits(theirs.stream), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    ours.check_invariants()


def test_what_pytorch_says_when_memory_runs_out() -> None:
    for run_out in (cpu_runs_out, device_runs_out):
        with pytest.raises(RuntimeError) as caught:
            run_out()
        assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_frames_that_do_not_fit_together_go_in_apart(faulty: Faulty, engine: Engine) -> None:
    with window(engine) as session, window(engine) as twin:
        twin.watch(make_frames(8))
        faulty.most_rows = 2 * 9
        session.watch(make_frames(8))
        assert max(faulty.forwards) == 4 * 9
        assert session.stats.frames_dropped == 0
        assert_same_memory(session, twin)


def test_frames_that_fit_in_no_way_are_dropped_and_the_stream_goes_on(
    faulty: Faulty, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with window(engine) as session, window(engine) as twin:
        session.watch(make_frames(4))
        faulty.most_rows = 8
        session.watch(make_frames(3, start=4))
        assert (session.stats.frames_seen, session.stats.frames_dropped) == (4, 3)
        assert "memory ran out" in caplog.text
        faulty.most_rows = 10**9
        session.watch(make_frames(4, start=7))
        twin.watch([*make_frames(4), *make_frames(4, start=7)])
        assert_same_memory(session, twin)
        assert session.fork().stats.frames_dropped == 3


def test_a_vision_tower_that_runs_out_gets_fewer_frames(faulty: Faulty, engine: Engine) -> None:
    with window(engine) as session, window(engine) as twin:
        twin.watch(make_frames(4))
        faulty.most_frames = 1
        session.watch(make_frames(4))
        assert_same_memory(session, twin)
        faulty.most_frames = 0
        session.watch(make_frames(4, start=4))
        assert (session.stats.frames_seen, session.stats.frames_dropped) == (4, 4)


def test_answers_go_on_where_frames_do_not_fit(faulty: Faulty, engine: Engine) -> None:
    """Also those that look at an archive first: their own pass runs twice and chooses once."""
    for memory in (SlidingWindow(budget=45), "rekv(budget=45)"):
        with engine.open(memory, chunk=4) as session, engine.open(memory, chunk=4) as twin:
            for one in (session, twin):
                one.watch(make_frames(12))
            expected = twin.ask(QUESTION).result().token_ids
            faulty.most_rows = 8
            with pytest.raises(LimitError, match="memory ran out for an answer"):
                session.ask(QUESTION).result()
            faulty.forwards.clear()
            # One question fits, all of them do not.
            with held_up(session):
                answers = [session.ask(QUESTION) for _ in range(12)]
                faulty.most_rows = 20
            assert all(answer.result().token_ids == expected for answer in answers)
            assert max(faulty.forwards) > faulty.most_rows
            session.watch(make_frames(2, start=12))
            faulty.most_rows = 10**9


def test_what_fails_in_a_forward_of_many_fails_alone(engine: Engine) -> None:
    """A policy's recall is foreign code that runs in the middle of a forward."""

    class Forgetful(type(parse_memory("rekv(budget=45)", bytes_per_token=1))):  # type: ignore[misc]
        name: ClassVar[str] = "forgetful"

        def recall(self, layer: int, asked: Any, state: Any) -> Any:
            raise PlanError("forgot")

    with engine.open(Forgetful(budget=45), chunk=4) as session, window(engine) as other, window(engine) as alone:
        for one in (session, other, alone):
            one.watch(make_frames(8))
        with held_up(session):
            answers = [one.ask(QUESTION) for one in (session, other, session)]
        for answer in answers[::2]:
            with pytest.raises(PlanError, match="forgot"):
                answer.result()
        assert answers[1].result().token_ids == alone.ask(QUESTION).result().token_ids


def test_numbers_that_are_none_stop_one_session_of_a_forward(faulty: Faulty, engine: Engine) -> None:
    with window(engine) as session, window(engine) as other, window(engine) as alone:
        for one in (session, other, alone):
            one.watch(make_frames(4))
        session.watch(Frame(4.0, BLACK))
        answers = [one.ask(QUESTION) for one in (session, other)]
        with pytest.raises(SessionError, match=r"the logits of an answer were not finite at 4\.0 s; .* snapshot"):
            answers[0].result()
        assert answers[1].result().token_ids == alone.ask(QUESTION).result().token_ids
        for use in (lambda: session.watch(make_frames(1, start=5)), lambda: session.ask(QUESTION).result()):
            with pytest.raises(SessionError, match="was stopped"):
                use()
        with pytest.raises(SessionError, match="was stopped"):
            session.offer(make_frames(1, start=5))
        assert session.stats.frames_seen == 5
        restored = engine.restore(session.snapshot())
        assert restored.stats.frames_seen == 5
        restored.close()
        other.watch(make_frames(4, start=4))
        assert other.stats.frames_seen == 8


def test_a_drawn_answer_of_such_numbers_stops_too(engine: Engine) -> None:
    with window(engine) as session:
        session.watch(Frame(0.0, BLACK))
        with pytest.raises(SessionError, match="logits"):
            session.ask(Query("What?", temperature=1.0, top_k=5, seed=3)).result()


def hermes(engine: Engine) -> Session:
    return engine.open(Hermes(budget=45), chunk=4)


def test_a_policy_is_not_asked_to_decide_by_such_numbers(engine: Engine) -> None:
    with hermes(engine) as session, hermes(engine) as other:
        for one in (session, other):
            one.watch(make_frames(7))
        with pytest.raises(SessionError, match=r"what the policy was to decide by \(.+\) was not finite at 7\.0 s"):
            session.watch(Frame(7.0, BLACK))
        assert session.stats.frames_seen == 7
        restored = engine.restore(session.snapshot())
        for one in (restored, other):
            one.watch(make_frames(1, start=7))
        assert_same_memory(restored, other)
        restored.close()


def test_on_an_accelerator_signals_are_looked_at_one_step_later(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hermes_stream.memory import checks

    monkeypatch.setattr(checks, "_FREE_TO_READ", frozenset())
    with hermes(engine) as session:
        session.watch(make_frames(7))
        session.watch(Frame(7.0, BLACK))
        assert session.stats.frames_seen == 8
        with pytest.raises(SessionError, match="decide by"):
            session.watch(make_frames(1, start=8))
        assert session.snapshot()


class Wrong(SlidingWindow):
    """Returns a plan of whoever tests, once."""

    name: ClassVar[str] = "wrong"
    plans: list[Any]

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        if self.plans:
            return Plan.same_rows(self.plans.pop(), view.n_layers), state
        return super().after_chunk(view, state)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.tensor([1, 0]), "not sorted and unique"),
        (torch.tensor([0, 99]), "but the layer has rows 0 to"),
        (torch.arange(46), "the budget is 45"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_anything_is_written(
    engine: Engine, rows: torch.Tensor, message: str
) -> None:
    with engine.open(Wrong(budget=45, plans=[rows]), chunk=8) as session, window(engine) as other:
        session.watch(make_frames(5))
        before, version = memory_bits(session.stream), session.memory
        answer = other.ask(QUESTION)
        with pytest.raises(PlanError, match=message):
            session.watch(make_frames(3, start=5))
        assert session.memory is version
        assert all(map(torch.equal, before, memory_bits(session.stream)))
        assert answer.result().token_ids
        other.watch(make_frames(4))
        session.watch(make_frames(3, start=5))
        assert session.stats.frames_seen == 8


def test_memory_that_runs_out_in_a_plan_costs_the_last_frames_alone(engine: Engine, faulty: Faulty) -> None:
    class RunsOut(SlidingWindow):
        name: ClassVar[str] = "runs-out"
        is_full: list[bool]

        def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
            if self.is_full[0]:
                faulty._run_out()
            keep_N = torch.arange(max(view.layers[0].n_rows - 27, 0), view.layers[0].n_rows)
            return Plan((LayerPlan(keep_N),) * view.n_layers), state

    is_full = [True]
    with engine.open(RunsOut(budget=27, is_full=is_full), chunk=4) as session:
        session.watch(make_frames(4))
        assert (session.stats.frames_seen, session.stats.frames_dropped) == (3, 1)
        session.stream.policy.is_full[0] = False
        session.watch(make_frames(1, start=4))
        assert (session.stats.frames_seen, session.stats.n_compressions) == (4, 1)
        session.check_invariants()
