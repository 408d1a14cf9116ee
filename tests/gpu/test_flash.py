"""The fused operation on a device: against SDPA, with rows that must not be read, and against the reference engine."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from hermes_stream import Hermes, KeepAll
from hermes_stream.memory.backends import packed
from hermes_stream.memory.backends.flash import merge_parts, packed_attention
from hermes_stream.memory.backends.reference import ReferenceBackend
from hermes_stream.models.load import load_adapter
from tests.engine.direct import open_direct, question_logits, watch_packed
from tests.tiny import make_frames, save_checkpoint

pytestmark = pytest.mark.gpu

N_HEADS, N_KV_HEADS, HEAD_DIM, CAPACITY = 28, 4, 128, 6144
SCALE = HEAD_DIM**-0.5


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.bfloat16, device="cuda")


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32, device="cuda")


@pytest.mark.parametrize("n_segments", [1, 64])
@pytest.mark.parametrize("n_new", [1, 2, 64, 128])
def test_slots_with_lengths_on_the_device_equal_sdpa(n_segments: int, n_new: int) -> None:
    """Ragged lengths; what stands in a slot behind its length is NaN and is never read."""
    lengths = [n_new + n for n in (0, 127, 128, 6000 - n_new)]
    lengths = [lengths[index % 4] for index in range(n_segments)]
    query_THD = draw(n_segments * n_new, N_HEADS, HEAD_DIM)
    rows = [torch.full((n_segments * CAPACITY, N_KV_HEADS, HEAD_DIM), float("nan")).bfloat16().cuda() for _ in "kv"]
    for x_RKD in rows:
        for index, length in enumerate(lengths):
            x_RKD[index * CAPACITY : index * CAPACITY + length] = draw(length, N_KV_HEADS, HEAD_DIM)
    out_THD, lse_HT = packed_attention(
        query_THD,
        *rows,
        ints(*range(0, n_segments * n_new + 1, n_new)),
        ints(*range(0, (n_segments + 1) * CAPACITY, CAPACITY)),
        ints(*lengths),
        n_new,
        CAPACITY,
        SCALE,
        causal=True,
        want_lse=True,
    )
    assert lse_HT is not None
    assert lse_HT.shape == (N_HEADS, n_segments * n_new)
    for index, length in enumerate(lengths):
        query_HTD = query_THD[index * n_new : (index + 1) * n_new].transpose(0, 1)
        key_KND, value_KND = (x[index * CAPACITY : index * CAPACITY + length].transpose(0, 1) for x in rows)
        mask = causal_lower_right(n_new, length)
        expected = scaled_dot_product_attention(
            query_HTD[None], key_KND[None], value_KND[None], attn_mask=mask, scale=SCALE, enable_gqa=True
        )[0]
        found = out_THD[index * n_new : (index + 1) * n_new].transpose(0, 1)
        torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)


def test_a_segment_without_keys_has_output_0_and_an_infinite_log_sum_exp() -> None:
    rows_RKD = draw(256, N_KV_HEADS, HEAD_DIM)
    arguments = draw(4, N_HEADS, HEAD_DIM), rows_RKD, rows_RKD, ints(0, 2, 4), ints(0, 0, 0), ints(0, 9), 2, 256, SCALE
    out_THD, lse_HT = packed_attention(*arguments, causal=False, want_lse=True)
    assert lse_HT is not None
    assert out_THD[:2].eq(0).all()
    assert lse_HT[:, :2].isposinf().all()
    merged_THD, _ = merge_parts(out_THD[None], lse_HT[None])
    assert merged_THD.isfinite().all()


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl"])
def test_the_packed_engine_answers_as_the_reference_does(
    tmp_path_factory: pytest.TempPathFactory, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half precision rounds differently on the two paths: logits agree to a few parts in a hundred of their spread."""
    monkeypatch.setattr(packed, "_ROWS_PER_PART", 16)
    folder = save_checkpoint(family, tmp_path_factory.mktemp("checkpoints") / family)
    results = []
    for backend in (None, ReferenceBackend()):
        adapter = load_adapter(str(folder), device="cuda", dtype="bfloat16")
        assert adapter.backend.name == "flash"
        adapter.backend = backend or adapter.backend  # type: ignore[misc]
        streams = [open_direct(adapter, policy, chunk_frames=2) for policy in (Hermes(budget=150), KeepAll())]
        for first in (0, 2):
            watch_packed(streams, [make_frames(2, seed=seed, start=first) for seed in range(2)])
        results.append([question_logits(stream, "red or green?").float() for stream in streams])
    for found, expected in zip(*results, strict=True):
        assert float((found - expected).abs().max()) < 5e-2 * float(expected.abs().max())


def test_the_decode_form_is_not_slower_than_the_causal_one() -> None:
    """64 sessions of 6,000 rows, one new row each: causal windows switch the form off that shares reads of a group."""
    n_segments = 64
    rows = [draw(n_segments * CAPACITY, N_KV_HEADS, HEAD_DIM) for _ in "kv"]
    query_THD = draw(n_segments, N_HEADS, HEAD_DIM)
    offsets = ints(*range(n_segments + 1)), ints(*range(0, (n_segments + 1) * CAPACITY, CAPACITY))
    lengths = ints(*[6000] * n_segments)

    def run(max_q: int) -> torch.Tensor:
        return packed_attention(
            query_THD, *rows, *offsets, lengths, max_q, CAPACITY, SCALE, causal=True, want_lse=False
        )[0]

    torch.testing.assert_close(run(1), run(2), atol=2e-2, rtol=2e-2)
    assert milliseconds(lambda: run(1)) < 1.1 * milliseconds(lambda: run(2))


def milliseconds(function: Callable[[], object]) -> float:
    """Median of twenty calls, warmed up."""
    times = []
    for _ in range(25):
        torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times[5:])[10]
