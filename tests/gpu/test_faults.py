"""Faults on a device: `python -m pytest -m gpu tests/gpu/test_faults.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, Hermes, SlidingWindow
from hermes_stream.engine.faults import NO_TOKEN, Doubt, is_out_of_memory, token_or_none
from hermes_stream.errors import LimitError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.tiny import make_frames, save_checkpoint

pytestmark = pytest.mark.gpu


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    folder = save_checkpoint("llava_onevision", tmp_path / "llava")
    return load_adapter(str(folder), dtype="bfloat16", device="cuda")


@pytest.fixture
def _waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("_waiting_is_an_error")
def test_nobody_waits_for_what_the_device_says_of_signals() -> None:
    fine, bad = torch.ones(2, 900, device="cuda"), torch.full((2, 900), torch.nan, device="cuda")
    doubts = [Doubt({"early": [fine, fine], "late": [fine]}), Doubt({"early": [fine, fine], "late": [bad]})]
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert [doubt.failed() for doubt in doubts] == [(), ("late",)]
    assert not doubts[0].is_free


@pytest.mark.usefixtures("_waiting_is_an_error")
def test_a_token_and_whether_there_is_one_are_read_together() -> None:
    logits_AV = torch.zeros(3, 50, device="cuda")
    logits_AV[1, 7] = torch.inf
    token_A = token_or_none(logits_AV.argmax(dim=-1), logits_AV)
    torch.cuda.set_sync_debug_mode("default")
    assert token_A.tolist() == [0, NO_TOKEN, 0]


def test_the_allocator_says_it_as_expected_and_the_engine_lives_on(adapter: Adapter) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)
    with Engine(adapter) as engine, engine.open(Hermes(budget=45), chunk=4) as session:
        session.watch(make_frames(9))
        assert session.ask("What is left?", max_new_tokens=3).result().token_ids
        session.check_invariants()


def test_the_device_has_no_less_than_was_promised(adapter: Adapter) -> None:
    free, _ = torch.cuda.mem_get_info()
    with Engine(adapter) as engine:
        assert 0 < (engine.stats.limit_bytes or 0) - engine.model.weight_bytes <= free
    with Engine(adapter, memory_limit="512MiB") as engine:
        before, sessions = torch.cuda.memory_allocated() - engine.model.weight_bytes, []
        with pytest.raises(LimitError, match="left"):
            sessions.extend(engine.open(SlidingWindow(budget=400)) for _ in range(10_000))
        for session in sessions[:8]:
            session.watch(make_frames(50))
        assert torch.cuda.memory_allocated() - before <= engine.stats.used_bytes <= 2**29
