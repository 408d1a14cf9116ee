"""Law 5: eviction with kept positions equals hiding the evicted tokens from all later queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.oracles.stock_llava import StockLlava
from tests.tiny import make_frames

TOKENS_PER_FRAME = 9


class RandomPerLayer(Policy):
    """Each layer keeps random rows of its own; what every layer dropped, and when, is left in `log`."""

    name: ClassVar[str] = "random-per-layer"
    is_bounded: ClassVar[bool] = False
    log: list[Any]
    seed: int

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + view.frames_seen)
        plans = []
        dropped = []
        for layer in view.layers:
            keep_share = 0.3 + 0.6 * torch.rand((), generator=generator)
            is_kept = torch.rand(layer.n_rows, generator=generator) < keep_share
            plans.append(LayerPlan(is_kept.nonzero()[:, 0]))
            dropped.append(layer.identity_N[~is_kept])
        self.log.append((view.frames_seen * TOKENS_PER_FRAME, dropped))
        return Plan(tuple(plans)), state


@pytest.mark.parametrize("seed", range(4))
def test_logits_equal_a_recomputation_with_a_time_dependent_mask(llava_folder: Path, seed: int) -> None:
    frames = make_frames(14, seed=seed)
    question = "left right"
    adapter = load_adapter(str(llava_folder))
    policy = RandomPerLayer(log=[], seed=seed)
    stream = open_direct(adapter, policy, chunk_frames=4)
    watch_direct(stream, frames, 1 + seed)
    stream.memory.check_invariants()
    assert len({layer.n_held for layer in stream.memory.current.layers}) > 1

    stock = StockLlava(llava_folder)
    pixels = adapter._preprocess(frames)  # type: ignore[attr-defined]
    parts = stock.embeddings(pixels, f"\n{question}<|im_end|><|im_start|>assistant\n")
    embeddings_TE = torch.cat(parts)
    n_prefix, n_tokens = parts[0].shape[0], embeddings_TE.shape[0]
    visible_LTT = torch.ones(len(stream.memory.current.layers), n_tokens, n_tokens, dtype=torch.bool).tril()
    for tokens_seen, dropped in policy.log:
        for layer_index, identities in enumerate(dropped):
            # A vision token's identity is its place in the whole input: the prefix took the first numbers.
            visible_LTT[layer_index, n_prefix + tokens_seen :, identities] = False
    expected = stock.masked_logits(embeddings_TE, visible_LTT)
    torch.testing.assert_close(question_logits(stream, question), expected, atol=1e-4, rtol=0)
    unmasked = stock.masked_logits(embeddings_TE, torch.ones_like(visible_LTT).tril())
    assert not torch.allclose(unmasked, expected, atol=1e-3)
