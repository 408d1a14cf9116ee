"""Packed calls, parts that are merged, and mass from log-sum-exps, against attention written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.backends import flash
from hermes_stream.memory.backends.kernel import PRIVATE, PUBLIC, fused_attention, fused_op
from tests.oracles.attention_oracle import attend_slowly
from tests.oracles.packed_attention_oracle import packed_attention_by_segment, packed_attention_slowly

SCALING = 0.35


@pytest.fixture(autouse=True)
def _kernel_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "kernel", packed_attention_slowly)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=3),
)
def test_held_and_own_parts_merged_equal_attention_written_out(
    seed: int, n_kv_heads: int, group: int, sizes: list[tuple[int, int, int]]
) -> None:
    """Ragged segments whose held rows and own rows stand anywhere in the arena; some hold nothing yet."""
    n_rows = sum(n_new + n_held + n_old + 3 for n_new, n_held, n_old in sizes)
    n_new_all = sum(n_new for n_new, _, _ in sizes)
    query_THD = draw(seed, n_new_all, n_kv_heads * group, 4)
    keys_RKD, values_RKD = draw(seed + 1, n_rows, n_kv_heads, 4), draw(seed + 2, n_rows, n_kv_heads, 4)
    cu_q, held_start, held_len, own_start, own_len, place = [0], [], [], [], [], n_rows
    for n_new, n_held, n_old in sizes:
        cu_q.append(cu_q[-1] + n_new)
        place -= n_held + 1
        held_start.append(place)
        held_len.append(n_held)
        place -= n_old + n_new + 1
        own_start.append(place)
        own_len.append(n_old + n_new)
    parts = []
    for start, length, causal in ((held_start, held_len, False), (own_start, own_len, True)):
        out_THD, lse_HT = flash.packed_attention(
            query_THD,
            keys_RKD,
            values_RKD,
            ints(*cu_q),
            ints(*start, 0),
            ints(*length),
            max(3, max(length)),
            n_rows,
            SCALING,
            causal=causal,
            want_lse=True,
        )
        assert lse_HT is not None
        parts.append((out_THD, lse_HT))
    out_THD, lse_HT = flash.merge_parts(*(torch.stack(x) for x in zip(*parts, strict=True)))
    for index, (n_new, n_held, n_old) in enumerate(sizes):
        rows = slice(cu_q[index], cu_q[index] + n_new)
        key_KND, value_KND = (
            torch.cat(
                (
                    x_RKD[held_start[index] : held_start[index] + n_held],
                    x_RKD[own_start[index] : own_start[index] + n_old + n_new],
                )
            ).transpose(0, 1)
            for x_RKD in (keys_RKD, values_RKD)
        )
        expected_HTD, weight_HTN = attend_slowly(query_THD[rows].transpose(0, 1), key_KND, value_KND, SCALING)
        torch.testing.assert_close(out_THD[rows].transpose(0, 1), expected_HTD)
        mass_KN = flash.mass_from_lse(query_THD[rows].transpose(0, 1), key_KND[:, :n_held], lse_HT[:, rows], SCALING)
        expected_KN = weight_HTN[..., :n_held].mean(dim=1).view(n_kv_heads, group, n_held).mean(dim=1)
        torch.testing.assert_close(mass_KN, expected_KN)


def test_segments_without_keys_weigh_nothing_and_leave_nothing_undefined() -> None:
    query_THD, rows_RKD = draw(0, 3, 2, 4), draw(1, 5, 1, 4)
    arguments = query_THD, rows_RKD, rows_RKD, ints(0, 1, 2), ints(0, 0, 0), ints(0, 2), 2, 5, SCALING
    out_THD, lse_HT = flash.packed_attention(*arguments, causal=True, want_lse=True)
    assert lse_HT is not None
    assert out_THD[0].eq(0).all()
    assert lse_HT[:, 0].eq(math.inf).all()
    assert out_THD[2].isnan().all()
    merged_THD, merged_HT = flash.merge_parts(out_THD[None, :2], lse_HT[None, :, :2])
    assert merged_THD[0].eq(0).all()
    assert merged_HT[:, 0].eq(-math.inf).all()
    torch.testing.assert_close(merged_THD[1], out_THD[1])


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    causal=st.booleans(),
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=3),
)
def test_the_two_kernels_of_our_tests_agree(seed: int, causal: bool, sizes: list[tuple[int, int]]) -> None:
    """Also where a segment has fewer keys than queries, so that some see nothing."""
    cu_q = ints(0, *torch.tensor([n_new for n_new, _ in sizes]).cumsum(0).tolist())
    k_start = ints(*(5 * index for index in range(len(sizes))), 0)
    n_new = int(cu_q[-1])
    query_THD, rows = draw(seed, n_new, 4, 3), (draw(seed + 1, 15, 2, 3), draw(seed + 2, 15, 2, 3))
    arguments = query_THD, *rows, cu_q, k_start, ints(*(n for _, n in sizes)), 3, 5, SCALING, causal
    slow, fast = packed_attention_slowly(*arguments), packed_attention_by_segment(*arguments)
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("n_rows", [1, 64])
def test_the_installed_operation_takes_our_arguments(n_rows: int) -> None:
    """On the device "meta" the arguments are checked and the shapes of the results come back."""
    n_segments = 3
    query_THD = torch.empty(n_segments * n_rows, 28, 128, dtype=torch.bfloat16, device="meta")
    rows_RKD = torch.empty(4096, 4, 128, dtype=torch.bfloat16, device="meta")
    cu_q, k_len = (torch.empty(n, dtype=torch.int32, device="meta") for n in (n_segments + 1, n_segments))
    out_THD, lse_HT = fused_attention(query_THD, rows_RKD, rows_RKD, cu_q, cu_q, k_len, n_rows, 1024, 0.1, n_rows > 1)
    assert fused_op() in (PUBLIC, PRIVATE)
    assert out_THD.shape == query_THD.shape
    assert lse_HT.shape == (28, n_segments * n_rows)
    assert lse_HT.dtype == torch.float32


def test_the_private_operation_has_the_arguments_that_we_use() -> None:
    """Older PyTorch is called below its public interface: its schema may change without notice."""
    schema = torch.ops.aten._flash_attention_forward.default._schema
    names = [argument.name for argument in schema.arguments]
    assert names[:10] == [
        "query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p", "is_causal",
        "return_debug_mask",
    ]  # fmt: skip
    assert {"scale", "seqused_k"} <= set(names[10:])
    assert [result.name for result in schema.returns][:2] == ["output", "softmax_logsumexp"]
