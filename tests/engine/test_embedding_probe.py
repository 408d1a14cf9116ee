"""HERMES' released pseudo-queries, against the stock modules, in three families."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from hermes_stream import Hermes
from hermes_stream.memory.attention import mass_without_mask
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy, Probe
from tests.engine.direct import memory_bits, open_direct, watch_direct
from tests.oracles.embedding_oracle import attention_of_raw_embeddings
from tests.tiny import make_frames, save_checkpoint

TEXT = "Which colour is the circle?"


class Listener(Policy):
    """Keeps everything, asks its text in both ways, and remembers the last view."""

    name: ClassVar[str] = "listener"
    is_bounded: ClassVar[bool] = False
    views: list[Any] = []  # noqa: RUF012

    def probes(self, n_rows: Any, history: Any, stream: Any) -> tuple[Probe, ...]:
        layers = range(stream.n_layers)
        return Probe("embedding", TEXT, layers, "embedding"), Probe("true", TEXT, layers)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        self.views.append(view)
        return Plan.keep_all(), state


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("checkpoints") / request.param)


def test_every_layer_reads_raw_embeddings(folder: Path) -> None:
    """Held keys are those of `test_chunked_equals_whole`: equal to the stock model's."""
    adapter: Any = load_adapter(str(folder))
    listener = Listener(views=[])
    stream = open_direct(adapter, listener, chunk_frames=4)
    watch_direct(stream, make_frames(4, seed=3), 2)
    version, view = stream.memory.current, listener.views[-1]
    n_prefix = version.n_prefix
    for index, layer in enumerate(view.layers):
        per_head = attention_of_raw_embeddings(
            adapter._text_model, index, version.layers[index].keys, adapter.guidance(TEXT), version.next_position
        )
        expected_KN = per_head.view(adapter.facts.n_kv_heads, -1, per_head.shape[1]).mean(dim=1)
        torch.testing.assert_close(layer.mass["embedding"], expected_KN[:, n_prefix:], atol=1e-6, rtol=0)
        # With one layer below it, a true query is another one (defect A of the release).
        if index > 0:
            assert not torch.allclose(layer.mass["embedding"], layer.mass["true"], atol=1e-3, rtol=1e-2)


def test_the_order_of_its_tokens_does_not_mask_them(folder: Path) -> None:
    """Without a mask the first prompt token shares its attention with the last: a true forward must not (defect B)."""
    adapter: Any = load_adapter(str(folder))
    text_TE = adapter.guidance(TEXT)
    query_HTD, key_KTD, scaling = adapter.project(0, text_TE)
    held = key_KTD[:, :3]
    with_last = mass_without_mask(query_HTD[:, :1], held, key_KTD, scaling)
    without_last = mass_without_mask(query_HTD[:, :1], held, key_KTD[:, :-1], scaling)
    assert bool((with_last < without_last).all())


def test_the_released_preset_leaves_nothing_of_its_prompts(folder: Path) -> None:
    """It compresses, and asking its prompts adds no rows and no segments to a forward."""
    adapter: Any = load_adapter(str(folder))
    per_grid = adapter.facts.tokens_per_frame
    stream = open_direct(adapter, Hermes(budget=2 * per_grid + 1, **Hermes.presets["released"]), chunk_frames=4)
    watch_direct(stream, make_frames(16, seed=3), 4)
    assert stream.n_compressions >= 1
    assert max(stream.memory.current.held_tokens) <= 2 * per_grid + 1
    stream.memory.check_invariants()
    assert all(bool(tensor.isfinite().all()) for tensor in memory_bits(stream) if tensor.is_floating_point())
