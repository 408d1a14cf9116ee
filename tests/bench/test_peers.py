"""`bench peers`: the same work, measured in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_stream.bench import peers as module
from hermes_stream.bench.peers import GENERATE, GROWING, PeersSettings, measure_peers
from hermes_stream.errors import ConfigError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.tiny import save_checkpoint


@pytest.fixture(scope="module")
def adapter(llava_folder: Path) -> Adapter:
    return load_adapter(str(llava_folder))


def test_every_peer_has_a_row(adapter: Adapter) -> None:
    n_frames, per_frame, prefix = 12, 9, adapter.facts.prefix_tokens
    said: list[str] = []
    rows = measure_peers(
        adapter, PeersSettings(frames=n_frames, budget=36, n_questions=2, answer_tokens=2), said.append
    )
    assert [row.name for row in rows] == [GENERATE, GROWING, "rekv, 12 frames recalled", "this engine, hermes"]
    for row in rows:
        assert row.ttft_ms_p50 > 0
        assert row.tpot_ms is not None
        assert row.questions == 2
    # All but ours see every frame; whoever keeps all rows takes more than the memory with a budget.
    n_all = prefix + n_frames * per_frame
    assert [row.seen_tokens for row in rows] == [n_all, n_all, n_all, prefix + 36]
    sizes = adapter.text_sizes
    row_bytes = 2 * sizes.n_layers * sizes.n_kv_heads * sizes.head_dim * 4
    assert rows[1].peak_bytes > n_all * row_bytes
    assert rows[0].peak_bytes == rows[1].peak_bytes + n_all * sizes.width * 4
    assert rows[-1].ttft_against_ours == 1
    assert rows[0].encoding_ms_per_frame is not None
    assert len(said) == 3


def test_who_takes_long_is_asked_once(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.0)
    rows = measure_peers(adapter, PeersSettings(frames=4, n_questions=5, answer_tokens=1), lambda _: None)
    assert [row.questions for row in rows] == [1, 1, 1, 1]
    assert all(row.tpot_ms is None for row in rows)


def test_what_cannot_be_compared_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--frames is 64, but 48 fit"):
        measure_peers(adapter, PeersSettings(frames=64), lambda _: None)
    qwen = load_adapter(str(save_checkpoint("qwen2_5_vl", tmp_path)))
    with pytest.raises(ConfigError, match="use a LLaVA-OneVision"):
        measure_peers(qwen, PeersSettings(frames=4), lambda _: None)
