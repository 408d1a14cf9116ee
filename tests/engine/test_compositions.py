"""Front-ends, stores and wrappers together on models of all families, from their texts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream import Engine
from hermes_stream.engine.snapshot import restore_stream, take_snapshot
from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.policies.spec import parse_memory
from tests.policies.test_recent import holds_rows
from tests.tiny import make_frames, save_checkpoint

from .direct import assert_same_bits, memory_bits, open_direct, question_logits, watch_direct
from .test_front_ends import half_still

COMPOSITIONS = [
    "dtd | hermes + recent(frames=1)",
    "dtd(threshold=0.9, against=kept) | infinipot-v + recent(frames=1)",
    "change-gate | streammem + recent(frames=2)",
    "change-gate | dtd(drop=0.2) | streaming-vlm",
    "ctr(keep=0.5) | uniform + recent(frames=1)",
    "dtd | recent-frames",
    "hermes:released + recent(frames=1)",
    "dtd | keep-all + recent",
    "hermes + recent(frames=1) + fresh(frames=1)",
    "dtd | infinipot-v + fresh(frames=2)",
    "keep-all + fresh(frames=2)",
    "infinipot-v + recent(frames=1) + gate",
    "hermes + pages(keep=0.5) + recent(frames=1)",
    "streammem + fresh(frames=1) + gate(rho=1.1)",
]


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param)))


@pytest.mark.parametrize("text", COMPOSITIONS)
def test_a_composition_watches_and_answers(text: str, adapter: Adapter) -> None:
    policy = parse_memory(text).with_budget(4 * adapter.facts.tokens_per_frame)
    if policy.needs_saliency and not adapter.facts.has_saliency:
        with pytest.raises(PolicyError, match="does not give"):
            open_direct(adapter, policy)
        return
    stream = open_direct(adapter, policy, chunk_frames=4)
    frames = half_still(24)
    for start in range(0, 24, 4):
        watch_direct(stream, frames[start : start + 4], 3)
        stream.memory.check_invariants()
        assert policy.budget_tokens is None or max(stream.memory.current.held_tokens) <= policy.budget_tokens
    before = memory_bits(stream)
    assert bool(torch.isfinite(question_logits(stream, "What is left?")).all())
    assert_same_bits(before, memory_bits(stream))
    assert stream.n_compressions > 0 or not policy.is_bounded


@pytest.mark.parametrize("wrapper", ["recent(frames=1)", "fresh(frames=1)"])
@pytest.mark.parametrize("name", [name for name, cls in POLICIES.items() if holds_rows(cls())])
def test_newest_frames_beside_every_store_of_rows(name: str, wrapper: str, llava_folder: Path) -> None:
    """Questions are answered whatever the store recalls for them, and change nothing."""
    adapter = load_adapter(str(llava_folder))
    policy = parse_memory(f"{name} + {wrapper}").with_budget(3 * adapter.facts.tokens_per_frame)
    stream = open_direct(adapter, policy, chunk_frames=4)
    for start in range(0, 16, 4):
        watch_direct(stream, make_frames(4, start=start), 3)
        stream.memory.check_invariants()
    before = memory_bits(stream)
    assert bool(torch.isfinite(question_logits(stream, "What is left?")).all())
    assert_same_bits(before, memory_bits(stream))


def test_fresh_frames_around_a_window_are_dscache_to_the_last_bit(adapter: Adapter) -> None:
    logits = []
    for text in ("sliding-window(positions=compact) + fresh(frames=2)", "dscache(instant=2)"):
        stream = open_direct(adapter, parse_memory(text).with_budget(4 * adapter.facts.tokens_per_frame))
        watch_direct(stream, make_frames(19), 3)
        logits.append(question_logits(stream, "What?"))
    assert torch.equal(*logits)


def answers(adapter: Adapter, *texts: str) -> list[torch.Tensor]:
    logits = []
    for text in texts:
        stream = open_direct(adapter, parse_memory(text).with_budget(4 * adapter.facts.tokens_per_frame))
        watch_direct(stream, make_frames(19), 3)
        logits.append(question_logits(stream, "What is red?"))
    return logits


def test_a_gate_that_never_opens_leaves_the_fresh_frames_alone(adapter: Adapter) -> None:
    assert torch.equal(*answers(adapter, "uniform + fresh(frames=2) + gate(rho=1e-9)", "recent-frames(frames=2)"))


def test_a_gate_that_never_opens_leaves_the_protected_frames_alone(adapter: Adapter) -> None:
    """As if everything else had been evicted before the question, with positions kept."""
    frames = make_frames(18)
    gated, bare = (
        open_direct(adapter, parse_memory(t)) for t in ("keep-all + recent(frames=2) + gate(rho=1e-9)", "keep-all")
    )
    for stream in (gated, bare):
        watch_direct(stream, frames, 3)
    whole_V = question_logits(bare, "What is red?")
    version = bare.memory.current
    frame_N = version.layers[0].table.frame_HN[0, version.n_prefix :]
    bare.memory.apply(Plan.same_rows((frame_N >= version.grids_seen - 2).nonzero()[:, 0], len(version.layers)))
    shut_V = question_logits(gated, "What is red?")
    torch.testing.assert_close(shut_V, question_logits(bare, "What is red?"), atol=1e-5, rtol=0)
    assert not torch.allclose(shut_V, whole_V, atol=1e-3)


@pytest.mark.parametrize("anchor", ["recent(frames=2)", "fresh(frames=2)"])
def test_a_gate_that_is_always_open_is_not_there(anchor: str, adapter: Adapter) -> None:
    assert torch.equal(*answers(adapter, f"uniform + {anchor} + gate(rho=1e9)", f"uniform + {anchor}"))


def test_all_pages_are_the_whole_memory(adapter: Adapter) -> None:
    whole, pages, few = answers(adapter, "hermes", "hermes + pages(keep=1)", "hermes + pages(keep=0.3)")
    torch.testing.assert_close(pages, whole, atol=1e-5, rtol=0)
    assert not torch.allclose(few, whole, atol=1e-3)


@torch.inference_mode()
def test_a_snapshot_takes_a_composition_along(adapter: Adapter, tmp_path: Path) -> None:
    """In the middle of an interval, with what front-ends remember."""
    stream = open_direct(adapter, parse_memory("dtd | hermes(budget=150) + recent(frames=1)"), chunk_frames=4)
    frames = half_still(16)
    watch_direct(stream, frames[:10], 3)
    take_snapshot(stream).save(tmp_path / "memory")
    twin = restore_stream(adapter, Snapshot.load(tmp_path / "memory"))
    assert str(twin.policy) == str(stream.policy)
    for each in (stream, twin):
        watch_direct(each, frames[10:], 4)
    assert_same_bits(memory_bits(stream), memory_bits(twin))


def test_a_fork_goes_on_as_the_stream_itself(adapter: Adapter) -> None:
    stream = open_direct(adapter, parse_memory("dtd | hermes(budget=150) + recent(frames=1)"), chunk_frames=4)
    frames = half_still(16)
    watch_direct(stream, frames[:6], 3)
    twin = stream.fork()
    watch_direct(twin, make_frames(10, seed=3, start=6)[-10:], 4)
    other = stream.fork()
    for each in (stream, other):
        watch_direct(each, frames[6:], 4)
    assert_same_bits(memory_bits(stream), memory_bits(other))
    assert not torch.equal(question_logits(twin, "What?"), question_logits(stream, "What?"))


def test_bytes_are_those_of_the_whole_composition(llava_folder: Path) -> None:
    """Rows, and what a front-end remembers beside them."""
    with Engine(load_adapter(str(llava_folder))) as engine:
        per_token = engine.open("uniform(budget=9)").memory.shape.bytes_per_token()
        with engine.open("dtd | uniform + recent(frames=1)", budget=f"{40 * per_token}B", chunk=2) as session:
            assert session.policy.budget_tokens == 40
            session.watch(make_frames(12))
            assert max(session.memory.held_tokens) <= 40
            assert session.stats.memory_bytes > session.memory.n_bytes
            assert session.ask("What?", max_new_tokens=1).result().memory_bytes == session.stats.memory_bytes
