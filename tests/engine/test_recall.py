"""What was archived can be seen again: everything recalled is the whole memory, in all families."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.question_attention import question_attention
from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.recall import Placement, Recalled
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.archiving import ArchivingPolicy
from hermes_stream.policies.base import StreamFacts, ViewSpec
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Query
from tests.tiny import make_frames, save_checkpoint

from .direct import assert_same_bits, make_task, memory_bits, open_direct, question_logits, watch_direct

N_FRAMES = 16


class Window(ArchivingPolicy):
    """Keep the newest rows; archive what leaves, or everything as it comes."""

    name: ClassVar[str] = "test-window"

    archives: Literal["leaving", "new"] = "leaving"
    asks_first: bool = True
    sees_held: bool = True
    where: Placement = "stored"

    def start(self, stream: StreamFacts) -> int:
        super().start(stream)
        return 0

    def after_chunk(self, view: MemoryView, state: int) -> tuple[Plan, int]:
        layer = view.layers[0]
        n_leaving = max(layer.n_rows - (self.budget_tokens or 0), 0)
        rows_N = torch.arange(layer.n_rows)
        archive_N = rows_N[:n_leaving] if self.archives == "leaving" else rows_N[layer.frame_N >= state]
        return Plan((LayerPlan(rows_N[n_leaving:], archive=archive_N),) * view.n_layers), view.frames_seen

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None = None) -> ViewSpec:
        return ViewSpec(sees_held=self.sees_held, recalls=True, asks_first=self.asks_first, positions=self.where)


class WindowThatFramesSeeBeyond(Window):
    recalls_at: ClassVar[Literal["questions", "always"]] = "always"


class Half(Window):
    """Recalls every other archived row; what it was asked is kept for the test to see."""

    def recall(self, layer: int, asked: Asked, state: Any) -> Recalled:
        assert asked.query_HTD.shape == asked.rotated_query_HTD.shape
        return Recalled(torch.arange(0, asked.archive.n_rows, 2))


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


def logits_of(adapter: Adapter, policy: Any, n_frames: int = N_FRAMES, piece_frames: int = 2) -> torch.Tensor:
    stream = open_direct(adapter, policy, chunk_frames=4)
    watch_direct(stream, make_frames(n_frames), piece_frames)
    stream.memory.check_invariants()
    before = memory_bits(stream)
    logits_V = question_logits(stream, "What is left?")
    assert_same_bits(before, memory_bits(stream))
    return logits_V


def rows_for(adapter: Adapter, n_frames: int) -> int:
    return n_frames * adapter.facts.tokens_per_frame


@pytest.mark.parametrize("asks_first", [True, False])
def test_new_frames_and_questions_that_see_the_archive_see_the_whole_memory(adapter: Adapter, asks_first: bool) -> None:
    policy = WindowThatFramesSeeBeyond(budget=adapter.facts.tokens_per_frame, asks_first=asks_first)
    torch.testing.assert_close(logits_of(adapter, policy), logits_of(adapter, KeepAll()), rtol=1e-4, atol=1e-4)


def test_an_archive_of_all_frames_is_the_memory_whose_rows_it_copied(adapter: Adapter) -> None:
    policy = Window(budget=rows_for(adapter, N_FRAMES), archives="new", sees_held=False)
    torch.testing.assert_close(logits_of(adapter, policy), logits_of(adapter, KeepAll()), rtol=1e-4, atol=1e-4)


def test_a_view_without_gaps_is_the_stream_itself_where_nothing_is_missing(adapter: Adapter) -> None:
    # With absolute time a stream has other distances than frame behind frame: there it holds for a single grid.
    n_frames = adapter.facts.frames_per_grid if adapter.facts.has_absolute_time else N_FRAMES
    policy = Window(budget=rows_for(adapter, N_FRAMES), sees_held=True, where="view")
    torch.testing.assert_close(
        logits_of(adapter, policy, n_frames), logits_of(adapter, KeepAll(), n_frames), rtol=1e-4, atol=1e-4
    )


def test_where_less_is_recalled_the_answer_is_another(adapter: Adapter) -> None:
    whole, half = (kind(budget=adapter.facts.tokens_per_frame, where="view") for kind in (Window, Half))
    assert not torch.allclose(logits_of(adapter, whole), logits_of(adapter, half), atol=1e-3)


def test_eight_bits_are_near_and_four_bits_are_further(adapter: Adapter) -> None:
    exact, eight, four = (
        logits_of(adapter, WindowThatFramesSeeBeyond(budget=adapter.facts.tokens_per_frame, bits=bits))
        for bits in (16, 8, 4)
    )
    assert 0 < (eight - exact).abs().max() < (four - exact).abs().max()
    assert (eight - exact).abs().max() < 0.1 * exact.std()


def test_a_disk_gives_back_the_same_bits(adapter: Adapter, tmp_path: Path) -> None:
    options = {"budget": adapter.facts.tokens_per_frame, "where": "view"}
    host = logits_of(adapter, Window(**options))
    disk = logits_of(adapter, Window(**options, host="1B", disk=tmp_path))
    assert torch.equal(host, disk)
    assert list(tmp_path.iterdir()) == []


@torch.inference_mode()
def test_attention_names_the_rows_that_were_recalled(adapter: Adapter) -> None:
    """By identity, the same attention as to a memory that holds everything."""
    found = {}
    for policy in (KeepAll(), WindowThatFramesSeeBeyond(budget=adapter.facts.tokens_per_frame)):
        stream = open_direct(adapter, policy, chunk_frames=4)
        watch_direct(stream, make_frames(N_FRAMES), 2)
        found[policy.name] = question_attention(stream, Query("What is left?"))
    whole, recalled = found["keep-all"], found["test-window"]
    for layer, weight_HN in enumerate(whole.by_layer):
        order_N = recalled.tables[layer].identity_HN[0].argsort()
        assert torch.equal(recalled.tables[layer].identity_HN[0, order_N], whole.tables[layer].identity_HN[0])
        torch.testing.assert_close(recalled.by_layer[layer][:, order_N], weight_HN, atol=1e-5, rtol=1e-3)


@torch.inference_mode()
def test_evidence_in_an_archive_is_named_as_that_of_a_memory_that_holds_everything(adapter: Adapter) -> None:
    found = {}
    for policy in (KeepAll(), WindowThatFramesSeeBeyond(budget=adapter.facts.tokens_per_frame)):
        stream = open_direct(adapter, policy, chunk_frames=4)
        watch_direct(stream, make_frames(N_FRAMES), 2)
        task, _ = make_task(stream, Query("What is left?", max_new_tokens=3, evidence=N_FRAMES))
        answer = None
        while answer is None:
            answer = task.accept(int(run_forward(adapter, [task.segment()]).largest_A[0]))
        found[policy.name] = {evidence.frame: evidence.weight for evidence in answer.evidence}
    assert len(found["keep-all"]) == N_FRAMES // adapter.facts.frames_per_grid
    assert found["test-window"] == pytest.approx(found["keep-all"], abs=1e-5)
