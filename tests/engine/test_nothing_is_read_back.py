"""Scoring, checking and executing a plan of HERMES never waits for values of the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Hermes
from hermes_stream.engine.batch import PackedBatch, TailSegment
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.stream import Stream
from hermes_stream.engine.tail import Tail
from hermes_stream.memory import checks
from hermes_stream.memory.backends.packed import FlashBackend
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.models import random_weights
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.engine.direct import assert_same_bits, memory_bits, open_direct, watch_direct, watch_packed
from tests.policies.harness import append_frames, append_prefix, empty_memory
from tests.readback import NothingComesBack
from tests.tiny import llava_onevision_config, make_frames, save_checkpoint

VARIANTS: list[dict[str, Any]] = [
    {},
    {"reindex": "eager"},
    {"summary_weight": "count", "match": "index"},
    {"summary": "all", "summary_place": "mean", "merge_summaries": True},
    {**Hermes.presets["released"], "reindex": "eager"},
]


@pytest.fixture
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks take the way that they take where reading costs something."""
    monkeypatch.setattr(checks, "_FREE_TO_READ", frozenset())


@pytest.mark.parametrize("options", VARIANTS)
def test_intervals_run_where_tensors_have_no_values(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device "meta" sizes are known and values do not exist, so whatever reads one fails.

    The model has 512 positions and a frame takes 9, so that lazy positions run out and are compacted meanwhile.
    """
    adapter = _load_on_meta(monkeypatch)
    stream = open_direct(adapter, Hermes(budget=60, **options), chunk_frames=8)
    watch_direct(stream, make_frames(80), 4)
    version = stream.memory.current
    assert stream.n_compressions == 10
    assert version.held_tokens == (60,) * 12
    assert version.layers[0].table.data_CHN.is_meta
    assert version.next_position <= adapter.facts.max_positions


@torch.inference_mode()
def test_packed_forwards_run_where_tensors_have_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames, probes, evictions, a question and a token of two sessions, by the operation of the installed PyTorch."""
    adapter = _load_on_meta(monkeypatch)
    adapter.backend = FlashBackend()  # type: ignore[misc]
    streams = [open_direct(adapter, Hermes(budget=20), chunk_frames=2) for _ in range(2)]
    for start in (0, 2):
        watch_packed(streams, [make_frames(2, start=start)] * 2)
    versions = [stream.memory.current for stream in streams]
    assert [version.held_tokens for version in versions] == [(20,) * 12] * 2
    assert len({version.layers[0].slab.arena for version in versions} - {None}) == 1
    segments = []
    for n_rows, version in zip((5, 1), versions, strict=True):
        position_RT = torch.arange(n_rows, device="meta")[None]
        embeddings_TE = torch.empty(n_rows, adapter.facts.hidden_size, dtype=adapter.facts.dtype, device="meta")
        segments.append(TailSegment(embeddings_TE, position_RT, Tail(version)))
    assert adapter.run(PackedBatch(segments, adapter.rope)).shape == (6, adapter.facts.hidden_size)


def _load_on_meta(monkeypatch: pytest.MonkeyPatch) -> Adapter:
    monkeypatch.setitem(random_weights.RANDOM_CONFIGS, "tiny", llava_onevision_config().to_dict())
    pixels = {**random_weights.PREPROCESSORS["llava_onevision"], "size": {"height": 40, "width": 40}}
    monkeypatch.setitem(random_weights.PREPROCESSORS, "llava_onevision", pixels)
    return load_adapter("random:tiny", device="meta")


@pytest.mark.parametrize(
    ("family", "options"),
    [*(("llava_onevision", options) for options in VARIANTS), ("qwen2_5_vl", {}), ("qwen3_vl", {"summary": "all"})],
)
def test_an_intervals_end_reads_nothing_and_gives_the_same(
    tmp_path: Path, family: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """With three axes too, as long as positions stay."""
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family)))
    ours, plain = (open_direct(adapter, Hermes(budget=60, **options)) for _ in range(2))
    watch_direct(plain, make_frames(24), 4)
    request.getfixturevalue("as_on_an_accelerator")
    watch_direct(ours, make_frames(20), 4)
    with torch.inference_mode():
        piece = Piece(ours, make_frames(4, start=20))
        adapter.run(PackedBatch(piece.segments(), adapter.rope))
        with NothingComesBack():
            piece.finish()
    assert ours.n_compressions == plain.n_compressions > 2
    assert_same_bits(memory_bits(ours), memory_bits(plain))
    assert _clocks(ours) == _clocks(plain)


def _clocks(stream: Stream) -> tuple[int, int, int]:
    version = stream.memory.current
    return version.next_position, version.newest_time, version.time_start


@pytest.mark.parametrize(
    ("layer_plan", "message"),
    [
        (LayerPlan(torch.tensor([1, 0])), "not sorted and unique"),
        (LayerPlan(torch.tensor([[0, 1], [1, 1]])), "not sorted and unique"),
        (LayerPlan(torch.tensor([-1, 1])), "outside the layer's rows 0 to 8"),
        (LayerPlan(torch.tensor([0, 9])), "outside the layer's rows 0 to 8"),
        (LayerPlan(torch.tensor([0]), (Fold(torch.tensor([0, 1])),)), "both kept and folded"),
        (LayerPlan(torch.tensor([0]), (Fold(torch.tensor([1])), Fold(torch.tensor([1])))), "folded twice"),
    ],
)
@pytest.mark.usefixtures("as_on_an_accelerator")
def test_a_malformed_plan_fails_on_the_device(layer_plan: LayerPlan, message: str) -> None:
    memory = _memory()
    version = memory.current
    with pytest.raises(RuntimeError, match=message):
        memory.apply(Plan((layer_plan,) * 2))
    assert memory.current is version


@pytest.mark.usefixtures("as_on_an_accelerator")
def test_positions_outside_the_limit_fail_on_the_device() -> None:
    memory = _memory()
    with pytest.raises(RuntimeError, match=r"positions outside \[2, 40\)"):
        memory.apply(Plan(positions=(torch.arange(32, 41)[None],) * 2))


@pytest.mark.parametrize("n_folds", [0, 1, 2])
@pytest.mark.parametrize("newest_is_kept", [True, False])
def test_the_clock_makes_room_for_summaries_without_a_look_at_them(n_folds: int, newest_is_kept: bool) -> None:
    """Exact where the newest row is kept, that many positions ahead where it is not, exact after a compaction."""
    memory = _memory()
    before = memory.current.next_position
    keep = torch.tensor([0, 8] if newest_is_kept else [0, 1])
    folds = tuple(Fold(torch.tensor([3 + index])) for index in range(n_folds))
    after = memory.apply(Plan((LayerPlan(keep, folds), LayerPlan(keep))))
    memory.check_invariants()
    largest = max(int(layer.table.position_RHN.max()) for layer in after.layers)
    assert after.next_position == before + n_folds
    assert (largest + 1 == after.next_position) == newest_is_kept
    assert after.layers[0].table.position_RHN[0, 0, 2:].diff().tolist()[1:] == [1] * n_folds
    compact = memory.apply(Plan(positions=Positions.COMPACT))
    assert compact.next_position == 4 + n_folds
    assert compact.newest_time == 3 + n_folds


def _memory() -> KVMemory:
    """Two layers, a prefix of two rows and three frames of three, in 40 positions."""
    memory = empty_memory(2, max_positions=40)
    append_prefix(memory, 2)
    append_frames(memory, 3, 3)
    return memory
