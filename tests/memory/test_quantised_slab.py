"""Rows in 8 bits: against loops, with the bound that one rounding has, rounded once whatever happens to them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.memory.quantised_slab import QuantisedSlab, dequantise, quantise
from hermes_stream.memory.rope import rotate
from hermes_stream.memory.slab import Slab
from tests.oracles.quantised_oracle import SMALLEST_SCALE, median_by_sorting, quantise_by_loops

from .test_kv_memory import HEAD_DIM, N_KV_HEADS, N_LAYERS, N_PREFIX, TwoSpeedRope, make_memory, random_plan, watch

CPU = torch.device("cpu")


@st.composite
def rows(draw: st.DrawFn) -> torch.Tensor:
    """Heads and rows of very different sizes, some zeros, some equal."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 6])))
    x_KND = torch.randn(shape, generator=generator)
    x_KND *= 10.0 ** torch.randint(-7, 6, shape[:2], generator=generator)[..., None]
    x_KND[torch.rand(shape, generator=generator) < 0.1] = 0.0
    return x_KND.round(decimals=draw(st.sampled_from([0, 12])))


@given(rows())
@settings(max_examples=60, deadline=None)
def test_codes_and_scales_are_those_of_the_definition(x_KND: torch.Tensor) -> None:
    codes, scales, back = quantise_by_loops(x_KND)
    code_KND, scale_KN = quantise(x_KND)
    assert (code_KND.dtype, scale_KN.dtype) == (torch.int8, torch.float16)
    assert torch.equal(code_KND.float(), codes)
    assert torch.equal(scale_KN.float(), scales)
    assert torch.equal(dequantise(code_KND, scale_KN, torch.float32), back)


@given(rows())
@settings(max_examples=100, deadline=None)
def test_no_number_is_off_by_more_than_half_a_scale(x_KND: torch.Tensor) -> None:
    x_KND = x_KND.double()
    code_KND, scale_KN = quantise(x_KND)
    off_KND = (dequantise(code_KND, scale_KN, torch.float64) - x_KND).abs()
    assert bool((off_KND <= scale_KN.double()[..., None] / 2 * (1 + 1e-12)).all())
    # And the scale is no larger than the largest number asks for, but for float16's rounding.
    fair_KN = (x_KND.abs().amax(dim=-1) / 127).clamp(min=SMALLEST_SCALE)
    assert bool((scale_KN.double() <= fair_KN * (1 + 2**-11)).all())


def test_what_is_not_finite_stays_so_in_its_row_alone() -> None:
    """Or a fault of the model would be hidden by its memory."""
    x_KND = torch.full((1, 4, 2), 127.0)
    x_KND[0, :3, 0] = torch.tensor([torch.nan, torch.inf, 1e9])
    back_KND = dequantise(*quantise(x_KND), torch.float32)
    assert not bool(back_KND[0, :3].isfinite().any())
    assert torch.equal(back_KND[0, 3], x_KND[0, 3])


def filled(raw_KND: torch.Tensor, value_KND: torch.Tensor, *, n_prefix: int = 3) -> Slab:
    """Appended in two pieces, the first of which is the prefix."""
    n_heads, _, head_dim = raw_KND.shape
    slab: Slab = QuantisedSlab.empty_of(n_heads, head_dim, 4, dtype=torch.float64, device=CPU, rope=TwoSpeedRope())
    for start, stop in ((0, n_prefix), (n_prefix, raw_KND.shape[1])):
        slab = slab.append(start, raw_KND[:, start:stop], value_KND[:, start:stop], raw_KND[:, start:stop])
    return slab


def test_what_all_keys_have_in_common_costs_no_precision() -> None:
    """A bias of hundreds in a few channels, as Qwen2's first and last layers have."""
    generator = torch.Generator().manual_seed(0)
    raw_KND, value_KND = torch.randn(2, 2, 20, 4, generator=generator, dtype=torch.float64)
    bias_KND = torch.tensor([300.0, 0.0, -150.0, 0.0], dtype=torch.float64).expand_as(raw_KND)
    plain, biased = filled(raw_KND, value_KND), filled(raw_KND + bias_KND, value_KND)
    torch.testing.assert_close(biased.raw_keys(20) - bias_KND, plain.raw_keys(20), atol=1e-10, rtol=0)
    # Five units lie within 127 steps, the distance to the prefix's median included.
    assert float((biased.raw_keys(20) - raw_KND - bias_KND).abs().max()) < 5 / 127 / 2


def test_keys_are_stored_by_their_distance_from_the_prefixs_median_and_read_at_their_positions() -> None:
    generator = torch.Generator().manual_seed(1)
    raw_KND, value_KND = torch.randn(2, 2, 9, 4, generator=generator, dtype=torch.float64)
    slab = filled(raw_KND, value_KND, n_prefix=4)
    for head in range(2):
        median = torch.tensor(median_by_sorting(raw_KND[head, :4]), dtype=torch.float64)
        _, scales, _ = quantise_by_loops(raw_KND[head : head + 1] - median)
        off_ND = (slab.raw_keys(9)[head] - raw_KND[head]).abs()
        assert bool((off_ND <= scales[0].double()[:, None] / 2 * (1 + 1e-6)).all())
    _, _, value_back = quantise_by_loops(value_KND)
    torch.testing.assert_close(slab.values(9), value_back.double(), atol=1e-6, rtol=0)
    position_RHN = torch.arange(100, 109)[None, None]
    tables = TwoSpeedRope().tables(position_RHN, torch.float64)
    assert torch.equal(slab.keys_at(position_RHN), rotate(slab.raw_keys(9), *tables))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), steps=st.lists(st.sampled_from(["watch", "keep", "compact"]), max_size=10))
def test_a_row_is_rounded_when_it_enters_and_never_again(seed: int, steps: list[str]) -> None:
    """Through evictions, copies and placements: the bits that were read first are read ever after."""
    generator = torch.Generator().manual_seed(seed)
    memory = make_memory(memory_bits=8)
    first: dict[tuple[int, int], torch.Tensor] = {}
    for index, step in enumerate(["watch", *steps]):
        if step == "watch":
            watch(memory, 1 + index % 3, seed + index)
        else:
            positions = Positions.COMPACT if step == "compact" else Positions.KEEP
            memory.apply(random_plan(memory, generator, positions, per_head=False))
        for at, layer in enumerate(memory.current.layers):
            read_KNX = torch.cat((layer.raw_keys(memory.rope), layer.values), dim=-1)
            for place, identity in enumerate(layer.table.identity_HN[0].tolist()):
                assert torch.equal(first.setdefault((at, identity), read_KNX[:, place]), read_KNX[:, place])


def test_a_summary_is_a_mean_that_is_rounded_once() -> None:
    memory = make_memory(memory_bits=8)
    watch(memory, 2)
    old = memory.current.layers[0]
    mean_KX = torch.cat((old.raw_keys(memory.rope), old.values), dim=-1)[:, N_PREFIX : N_PREFIX + 4].mean(dim=1)
    memory.apply(Plan((LayerPlan(torch.tensor([4, 5]), (Fold(torch.arange(4)),)),) * N_LAYERS))
    new = memory.current.layers[0]
    summary_KX = torch.cat((new.raw_keys(memory.rope), new.values), dim=-1)[:, -1]
    # Numbers of a few units: half of a 127th of the largest.
    torch.testing.assert_close(summary_KX, mean_KX, atol=4 / 127 / 2, rtol=0)


def test_readers_and_forks_are_not_disturbed_and_bytes_are_told() -> None:
    memory = make_memory(memory_bits=8)
    watch(memory, 2)
    version, twin = memory.current, memory.fork()
    before = [(layer.keys, layer.values) for layer in version.layers]
    watch(memory, 3, seed=1)
    watch(twin, 3, seed=2)
    memory.apply(Plan.same_rows(torch.tensor([0, 3, 8]), N_LAYERS))
    for (keys, values), layer in zip(before, version.layers, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)
    assert not torch.equal(twin.current.layers[0].values[:, -1], memory.current.layers[0].values[:, -1])
    per_token = 2 * N_LAYERS * N_KV_HEADS * (HEAD_DIM + 2)
    assert memory.shape.bytes_per_token(memory_bits=8) == per_token
    assert version.n_bytes == (N_PREFIX + 6) * per_token
    slab = version.layers[0].slab
    assert slab.allocated_bytes == sum(part.numel() * part.element_size() for part in slab.parts(slab.capacity))
    assert version.allocated_bytes == N_LAYERS * slab.allocated_bytes


def test_keys_without_their_truth_cannot_be_in_8_bits() -> None:
    with pytest.raises(ConfigError, match="stores un-rotated keys only"):
        make_memory(memory_bits=8, keep_raw=False)
