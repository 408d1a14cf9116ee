"""Front-ends in the engine, in all families: what is left runs through the text model where it stood."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hermes_stream.engine.batch import DeepStack
from hermes_stream.errors import PolicyError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.policies.base import Policy
from hermes_stream.policies.front_ends import FRONT_ENDS, Ctr, Dtd
from hermes_stream.policies.front_ends.base import FrontEnd
from hermes_stream.policies.infinipot_v import InfiniPotV
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.recent_frames import RecentFrames
from hermes_stream.types import Frame, VisualTokens
from tests.oracles import front_end_oracle
from tests.tiny import make_frames, save_checkpoint

from .direct import assert_same_bits, memory_bits, open_direct, question_logits, watch_direct

QUESTION = "Which colour is the circle?"
N_FRAMES = 8


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


def half_still(n_frames: int = N_FRAMES) -> list[Frame]:
    """Noise on the right, a picture at rest on the left."""
    frames = make_frames(n_frames)
    rest = np.arange(frames[0].image_YXC.shape[1]) < frames[0].image_YXC.shape[1] // 2
    still = frames[0].image_YXC
    return [Frame(f.pts_seconds, np.where(rest[None, :, None], still, f.image_YXC).astype(np.uint8)) for f in frames]


def fitting(adapter: Adapter) -> list[FrontEnd]:
    return [kind() for kind in FRONT_ENDS.values() if adapter.facts.has_saliency or not kind.needs_saliency]


@torch.inference_mode()
def stock_logits(adapter: Adapter, whole: VisualTokens, rows_N: torch.Tensor) -> torch.Tensor:
    """Some tokens of encoded frames and a question through the stock model, all where they stand in the whole."""
    facts = adapter.facts
    version = open_direct(adapter, KeepAll()).memory.current
    text_TE = adapter.question(QUESTION, after_video=True)
    text_RT = (version.text_after(whole) + torch.arange(text_TE.shape[0])).expand(facts.n_axes, -1)
    prefix_RT = torch.arange(facts.prefix_tokens).expand(facts.n_axes, -1)
    position_RT = torch.cat((prefix_RT, version.place(whole)[:, rows_N], text_RT), dim=-1)
    embeddings_TE = torch.cat((adapter.prefix(), whole.embeddings_NE[rows_N], text_TE))
    deepstack = None
    if whole.is_text_N is not None:
        is_left_N = torch.isin(torch.arange(whole.frame_N.numel()), rows_N)
        taps = tuple(tap[is_left_N[~whole.is_text_N]] for tap in whole.deepstack)
        left = replace(whole, is_text_N=whole.is_text_N[rows_N], frame_N=whole.frame_N[rows_N], deepstack=taps)
        stack = DeepStack.of([left], text_TE.shape[0])
        assert stack is not None
        before = torch.zeros(facts.prefix_tokens, dtype=torch.bool)
        deepstack = torch.cat((before, stack.is_visual_T)), list(stack.taps)
    hidden_TE, _ = adapter.run_stock(embeddings_TE, position_RT, deepstack, want_attentions=False)
    return adapter.logits(hidden_TE[-1:])[0]


def rows_left_by_dtd(tokens: VisualTokens, drop: float) -> torch.Tensor:
    """By the slow reference; text stays."""
    is_text_N = torch.zeros_like(tokens.frame_N, dtype=torch.bool) if tokens.is_text_N is None else tokens.is_text_N
    grids = []
    for index in range(tokens.n_grids):
        rows = ((tokens.frame_N == index) & ~is_text_N).nonzero()[:, 0].tolist()
        cells = [(int(tokens.row_N[row]), int(tokens.column_N[row])) for row in rows]
        grids.append({cell: tokens.embeddings_NE[row].tolist() for cell, row in zip(cells, rows, strict=True)})
    left = {(i, *cell) for i, cells in enumerate(front_end_oracle.dtd(grids, drop=drop)) for cell in cells}
    places = zip(tokens.frame_N.tolist(), tokens.row_N.tolist(), tokens.column_N.tolist(), strict=True)
    return torch.tensor([row for row, place in enumerate(places) if is_text_N[row] or place in left])


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_what_dtd_leaves_equals_the_stock_forward_of_it(adapter: Adapter, drop: float) -> None:
    frames = half_still()
    with torch.inference_mode():
        whole = adapter.embed(frames, since_seconds=0.0)
    rows_N = rows_left_by_dtd(whole, drop)
    stream = open_direct(adapter, KeepAll(front_ends=(Dtd(drop=drop),)), chunk_frames=4)
    watch_direct(stream, frames, 2)
    assert stream.memory.current.held_tokens[0] == rows_N.numel()
    assert drop == 0 or rows_N.numel() < whole.frame_N.numel()
    torch.testing.assert_close(
        question_logits(stream, QUESTION), stock_logits(adapter, whole, rows_N), atol=1e-4, rtol=0
    )


def test_dropping_nothing_is_no_front_end_to_the_last_bit(adapter: Adapter) -> None:
    streams = [open_direct(adapter, KeepAll(front_ends=fronts)) for fronts in ((), (Dtd(drop=0),))]
    for stream in streams:
        watch_direct(stream, make_frames(N_FRAMES), 4)
    assert_same_bits(*(memory_bits(stream) for stream in streams))
    assert torch.equal(*(question_logits(stream, QUESTION) for stream in streams))


def test_a_stream_may_be_cut_anywhere(adapter: Adapter) -> None:
    for front_end in fitting(adapter):
        held = []
        for piece_frames in (1, 3, 8):
            stream = open_direct(adapter, KeepAll(front_ends=(front_end,)), chunk_frames=8)
            watch_direct(stream, half_still(), piece_frames)
            held.append(stream.memory.current.layers[0].table.data_CHN)
        assert torch.equal(held[0], held[1])
        assert torch.equal(held[0], held[2])


def test_asking_changes_no_front_ends_state(adapter: Adapter) -> None:
    """Nor does a frame without a partner, which a question sees."""
    for front_end in fitting(adapter):
        stream = open_direct(adapter, KeepAll(front_ends=(front_end,)), chunk_frames=8)
        watch_direct(stream, half_still()[:3], 3)
        before = stream.front_states
        assert torch.equal(question_logits(stream, QUESTION), question_logits(stream, QUESTION))
        assert stream.front_states is before


def test_a_failed_forward_leaves_no_trace_in_front_ends(adapter: Adapter) -> None:
    class Failing(KeepAll):
        def after_chunk(self, view: object, state: object) -> object:  # type: ignore[override]
            raise PolicyError("on purpose")

    stream = open_direct(adapter, Failing(front_ends=(Dtd(),)), chunk_frames=4)
    watch_direct(stream, half_still()[:2], 2)
    before = stream.front_states
    with pytest.raises(PolicyError, match="on purpose"):
        watch_direct(stream, half_still()[2:4], 2)
    assert stream.front_states is before


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_behind_every_front_end(name: str, adapter: Adapter) -> None:
    """Fewer and unequal tokens a frame: budgets hold, the laws hold, questions are answered."""
    frames = half_still(12)
    for front_end in fitting(adapter):
        if front_end.merges and POLICIES[name].needs_cells:
            continue
        policy: Policy = POLICIES[name](front_ends=(front_end,)).with_budget(2 * adapter.facts.tokens_per_frame)
        stream = open_direct(adapter, policy, chunk_frames=4)
        for start in range(0, 12, 4):
            watch_direct(stream, frames[start : start + 4], 4)
            stream.memory.check_invariants()
        budgets_L = policy.layer_budgets(adapter.facts.n_layers)
        held = stream.memory.current.held_tokens
        assert budgets_L is None or all(n <= budget for n, budget in zip(held, budgets_L, strict=True))
        assert bool(torch.isfinite(question_logits(stream, QUESTION)).all())


def test_recent_frames_are_counted_as_the_front_end_leaves_them(llava_folder: Path) -> None:
    """9 tokens a frame, of which 3 stay: a budget of 9 holds three frames."""
    adapter = load_adapter(str(llava_folder))
    stream = open_direct(adapter, RecentFrames(budget=9, front_ends=(Ctr(keep=3),)), chunk_frames=4)
    watch_direct(stream, half_still(), 4)
    assert stream.memory.current.features.table.frame_HN[0].tolist() == [5] * 3 + [6] * 3 + [7] * 3


def test_a_signal_that_the_family_lacks_is_refused_before_the_first_frame(adapter: Adapter) -> None:
    policy = KeepAll(front_ends=(Ctr(),))
    if adapter.facts.has_saliency:
        open_direct(adapter, policy)
        return
    with pytest.raises(
        PolicyError, match=r"ctr needs the attention of the vision encoder, which qwen\S+ does not give"
    ):
        open_direct(adapter, policy)


def test_cells_that_were_merged_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="infinipot-v compares cells, which ctr merges"):
        InfiniPotV(front_ends=(Ctr(),))
    with pytest.raises(ValueError, match="dtd stands before the store twice"):
        KeepAll(front_ends=(Dtd(), Dtd(drop=0.1)))
