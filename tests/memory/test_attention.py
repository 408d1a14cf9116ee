"""Attention over held tokens and tails against attention written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.attention import attend_causal, attend_with_tail, attention_by_head, lower_right_mask
from tests.oracles.attention_oracle import attend_slowly

SCALING = 0.35


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    n_held=st.integers(0, 6),
    n_tail=st.integers(0, 3),
    n_new=st.integers(1, 4),
)
def test_both_forms_equal_attention_written_out(
    seed: int, n_kv_heads: int, group: int, n_held: int, n_tail: int, n_new: int
) -> None:
    """The tail holds older tokens of the same question as well as the new ones."""
    n_keys = n_held + n_tail + n_new
    query_HTD = draw(seed, n_kv_heads * group, n_new, 4)
    key_KND, value_KND = draw(seed + 1, n_kv_heads, n_keys, 4), draw(seed + 2, n_kv_heads, n_keys, 4)
    expected_HTD, weights_HTN = attend_slowly(query_HTD, key_KND, value_KND, SCALING)
    torch.testing.assert_close(attend_causal(query_HTD, key_KND, value_KND, SCALING), expected_HTD)
    out_HTD, mass_KN = attend_with_tail(
        query_HTD,
        key_KND[:, :n_held],
        value_KND[:, :n_held],
        key_KND[:, n_held:],
        value_KND[:, n_held:],
        SCALING,
        want_mass=True,
    )
    torch.testing.assert_close(out_HTD, expected_HTD)
    assert mass_KN is not None
    expected_KN = weights_HTN.mean(dim=1).view(n_kv_heads, group, n_keys).mean(dim=1)
    torch.testing.assert_close(mass_KN, expected_KN[:, :n_held])
    by_head_HN = attention_by_head(query_HTD, key_KND[:, :n_held], key_KND[:, n_held:], SCALING)
    torch.testing.assert_close(by_head_HN, weights_HTN.mean(dim=1))


def test_a_long_question_goes_through_in_blocks() -> None:
    n_held, n_new = 5, 150
    query_HTD, key_KND, value_KND = draw(0, 2, n_new, 4), draw(1, 1, n_held + n_new, 4), draw(2, 1, n_held + n_new, 4)
    expected_HTD, weights_HTN = attend_slowly(query_HTD, key_KND, value_KND, SCALING)
    held, tail = (key_KND[:, :n_held], value_KND[:, :n_held]), (key_KND[:, n_held:], value_KND[:, n_held:])
    out_HTD, mass_KN = attend_with_tail(query_HTD, *held, *tail, SCALING, want_mass=True)
    torch.testing.assert_close(out_HTD, expected_HTD)
    torch.testing.assert_close(mass_KN, weights_HTN[..., :n_held].mean(dim=(0, 1))[None])
    by_head_HN = attention_by_head(query_HTD, held[0], tail[0], SCALING)
    torch.testing.assert_close(by_head_HN, weights_HTN.mean(dim=1))


def test_attention_by_head_does_not_see_what_is_hidden_from_a_head() -> None:
    """Against each head's own attention over the keys that it sees."""
    query_HTD, key_KND = draw(0, 4, 3, 4), draw(1, 2, 9, 4)
    visible_KN = torch.tensor([[True, False, True, True, False], [False, True, True, False, True]])
    found_HN = attention_by_head(query_HTD, key_KND[:, :5], key_KND[:, 5:], SCALING, visible_KN=visible_KN)
    for head in range(4):
        rows_N = torch.cat((visible_KN[head // 2], torch.ones(4, dtype=torch.bool))).nonzero()[:, 0]
        seen_KND = key_KND[head // 2, rows_N][None]
        _, weights_HTN = attend_slowly(query_HTD[head : head + 1], seen_KND, seen_KND, SCALING)
        expected_N = torch.zeros(9, dtype=torch.float64).index_copy(0, rows_N, weights_HTN[0].mean(dim=0))
        torch.testing.assert_close(found_HN[head], expected_N)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_do_not_underflow(dtype: torch.dtype) -> None:
    """HERMES' release takes a half-precision softmax over 20,000 keys: tail weights become 0 (defect K)."""
    query_HTD = draw(0, 2, 3, 8).to(dtype)
    key_KND, tail = draw(1, 1, 20_000, 8).to(dtype), draw(2, 1, 3, 8).to(dtype)
    _, mass_KN = attend_with_tail(query_HTD, key_KND, key_KND, tail, tail, SCALING, want_mass=True)
    assert mass_KN is not None
    assert mass_KN.dtype == torch.float32
    assert int((mass_KN == 0).sum()) == 0


def test_the_mask_is_aligned_lower_right() -> None:
    assert lower_right_mask(2, 4, torch.device("cpu")).tolist() == [[True, True, True, False], [True] * 4]
