"""Features: what plans do to them, how they are laid out for a question, and that every token is accounted for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import InvariantError, PlanError
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.features import FeatureBank, place_fresh
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions, Prototype
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.types import VisualTokens

from ..oracles.bank_oracle import FoldOf, Token, keep_and_fold, laid_out, tokens_of
from ..policies.harness import QuarterTurnRope, append_frames, append_prefix, empty_memory

WIDTH, ROWS, COLUMNS = 4, 2, 3
# Axes, whether time is absolute, and tokens of text before and after each grid.
FAMILIES = {"one axis": (1, False, 0), "time in words": (3, False, 2), "absolute time": (3, True, 0)}
families = st.sampled_from(sorted(FAMILIES))


def shape_of(family: str) -> MemoryShape:
    n_axes, absolute, n_text = FAMILIES[family]
    return MemoryShape(
        n_layers=2, n_kv_heads=2, head_dim=2, n_axes=n_axes, max_positions=4000, dtype=torch.float32,
        device=torch.device("cpu"), time_axes=(0, 1, 2) if n_text else (0,), has_absolute_time=absolute,
    )  # fmt: skip


def encoded(family: str, times: list[int], seed: int = 0) -> VisualTokens:
    """Frames of 2 x 3 tokens as an adapter of the family gives them, with a tap where there is text."""
    n_axes, absolute, n_text = FAMILIES[family]
    cells = (
        [(-1, -1)] * n_text
        + [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
        + [(-1, -1)] * (n_text // 2)
    )
    position, positions, end = 0, [], 0
    for time in times:
        for index, (row, column) in enumerate(cells):
            if n_axes == 1:
                positions.append((position + index,))
            elif absolute:
                positions.append((time, row, column))
            elif row < 0 and index < n_text:
                positions.append((position + index,) * 3)
            elif row < 0:
                positions.append((position + n_text + COLUMNS + index - n_text - ROWS * COLUMNS,) * 3)
            else:
                corner = position + n_text
                positions.append((corner, corner + row, corner + column))
        end = position = max(max(where) for where in positions) + 1
    n, generator = len(cells) * len(times), torch.Generator().manual_seed(seed)
    row_N, column_N = torch.tensor(cells * len(times), dtype=torch.int64).reshape(-1, 2).T
    is_text_N = row_N < 0
    return VisualTokens(
        embeddings_NE=torch.randn(n, WIDTH, generator=generator),
        positions_RN=torch.tensor(positions, dtype=torch.int64).reshape(n, n_axes).T,
        n_positions=end,
        frame_N=torch.arange(len(times)).repeat_interleave(len(cells)),
        row_N=row_N,
        column_N=column_N,
        times_seconds_N=torch.tensor(times, dtype=torch.float64).repeat_interleave(len(cells)),
        n_frames=len(times),
        n_grids=len(times),
        is_text_N=is_text_N if n_text else None,
        deepstack=(torch.randn(int((~is_text_N).sum()), WIDTH, generator=generator),) if n_text else (),
    )


def memory_with(family: str, times: list[int], piece: int = 3, budget: int | None = None) -> KVMemory:
    """Frames that came in pieces."""
    budgets_L = None if budget is None else (budget,) * 2
    memory = KVMemory(shape_of(family), QuarterTurnRope(), budgets_L=budgets_L)
    append_prefix(memory, 2)
    for start in range(0, len(times), piece):
        part = encoded(family, times[start : start + piece], seed=start)
        memory.commit_features(part, float(times[min(start + piece, len(times)) - 1]))
    return memory


def as_tokens(bank: FeatureBank) -> list[Token]:
    table = bank.table
    return tokens_of(bank.embeddings_NE, table.data_CHN[:, 0].T.tolist(), table.seconds_HN[0].tolist())


def assert_same(ours: list[Token], theirs: list[Token]) -> None:
    plain = [replace(token, embedding=[]) for token in ours]
    assert plain == [replace(token, embedding=[]) for token in theirs]
    embeddings = (torch.tensor([token.embedding for token in part]) for part in (ours, theirs))
    torch.testing.assert_close(*embeddings, atol=1e-6, rtol=0)


@st.composite
def random_plans(draw: st.DrawFn, is_text: list[bool]) -> tuple[list[int], list[FoldOf]]:
    """Each row is kept, dropped or put into one of three folds; text is never folded."""
    fates = [draw(st.integers(0, 1 if text else 4)) for text in is_text]
    groups = [[row for row, fate in enumerate(fates) if fate == 2 + group] for group in range(3)]
    folds = [FoldOf(rows, draw(st.booleans()), draw(st.sampled_from(rows))) for rows in groups if rows]
    return [row for row, fate in enumerate(fates) if fate == 1], folds


def as_plan(keep: list[int], folds: list[FoldOf]) -> LayerPlan:
    return LayerPlan(
        torch.tensor(keep, dtype=torch.int64),
        tuple(
            Fold(torch.tensor(fold.rows), "count" if fold.by_count else "equal", anchor=fold.anchor) for fold in folds
        ),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), family=families, n_frames=st.integers(1, 5), n_plans=st.integers(1, 3))
def test_plans_do_what_the_oracle_does(data: st.DataObject, family: str, n_frames: int, n_plans: int) -> None:
    """Again and again, on what the plan before left; taps share the embeddings' fate."""
    memory = memory_with(family, list(range(n_frames)))
    for _ in range(n_plans):
        bank = memory.current.features
        is_text = (bank.table.kind_HN[0] == TokenKind.TEXT).tolist()
        keep, folds = data.draw(random_plans(is_text))
        memory.apply(Plan(features=as_plan(keep, folds)))
        memory.check_invariants()
        after = memory.current.features
        assert_same(as_tokens(after), keep_and_fold(as_tokens(bank), keep, folds))
        for tap_NE, held_NE in zip(bank.taps, after.taps, strict=True):
            taps = as_tokens(replace(bank, embeddings_NE=tap_NE))
            assert_same(as_tokens(replace(after, embeddings_NE=held_NE)), keep_and_fold(taps, keep, folds))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), family=families, gaps=st.lists(st.integers(1, 90), min_size=1, max_size=5))
def test_rows_are_laid_out_as_the_oracle_says(data: st.DataObject, family: str, gaps: list[int]) -> None:
    times = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    memory = memory_with(family, times, piece=2)
    bank = memory.current.features
    rows = data.draw(st.lists(st.integers(0, bank.n_rows - 1), min_size=1, unique=True).map(sorted))
    chosen = bank.select(torch.tensor(rows))
    placed_RN = place_fresh(chosen.laid_out(memory.shape), 7, memory.shape, 1000)
    expected = laid_out(as_tokens(chosen), absolute_time=memory.shape.has_absolute_time)
    assert (placed_RN - 7).T.tolist() == [list(position) for position in expected]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("piece", [1, 2, 5])
def test_whole_frames_stand_as_if_encoded_in_one_go(family: str, piece: int) -> None:
    """In any pieces, with the same embeddings, kinds, cells and taps."""
    times = [0, 1, 3, 4, 9]
    memory = memory_with(family, times, piece)
    ours, whole = memory.current.features.laid_out(memory.shape), encoded(family, times)
    assert torch.equal(ours.positions_RN, whole.positions_RN)
    assert ours.n_positions == whole.n_positions or memory.shape.has_absolute_time
    for name in ("frame_N", "row_N", "column_N", "times_seconds_N"):
        assert torch.equal(getattr(ours, name), getattr(whole, name)), name
    if whole.is_text_N is not None:
        assert torch.equal(ours.is_text_N, whole.is_text_N)
    if piece == len(times):
        assert torch.equal(ours.embeddings_NE, whole.embeddings_NE)
        assert all(torch.equal(a, b) for a, b in zip(ours.deepstack, whole.deepstack, strict=True))


def test_times_that_take_too_many_positions_lose_their_longest_gaps() -> None:
    """0, 2, 300 and 302 in 40 positions: differences of two stay, the long one takes what is left."""
    memory = memory_with("absolute time", [0, 2, 300, 302])
    tokens = memory.current.features.laid_out(memory.shape)
    times = place_fresh(tokens, 5, memory.shape, 40)[0].unique().tolist()
    assert times == [5, 7, 5 + 39 - 2, 5 + 39]
    assert place_fresh(tokens, 5, memory.shape, 400)[0].unique().tolist() == [5, 7, 305, 307]


def test_the_next_frame_stands_behind_what_is_left_of_one() -> None:
    """Of the first frame only the text before it and its first cell are held."""
    memory = memory_with("time in words", [0, 1])
    n = memory.current.features.n_rows // 2
    memory.apply(Plan(features=LayerPlan(torch.tensor([0, 1, 2, *range(n, 2 * n)]))))
    placed_RN = place_fresh(memory.current.features.laid_out(memory.shape), 0, memory.shape, 100)
    assert placed_RN[:, :4].T.tolist() == [[0] * 3, [1] * 3, [2] * 3, [3] * 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_newer_frames_push_older_ones_on(family: str) -> None:
    """Rows that go on keep their identities, and stand in the layers as frames committed at once do."""
    times = [0, 1, 2, 3, 4]
    held, direct = memory_with(family, []), memory_with(family, [])
    for start, n in ((0, 2), (2, 3)):
        tokens, now = encoded(family, times[start : start + n], seed=start), float(times[start + n - 1])
        leaving = held.begin_leaving(tokens, now, 2, held.waiting_with(tokens))
        if leaving is None:
            held.commit_features(tokens, now)
            continue
        _commit_zeros(held, leaving)
    for start, n in ((0, 2), (2, 1)):
        tokens = encoded(family, times[start : start + n], seed=start)
        _commit_zeros(direct, (tokens, direct.begin_vision(tokens, float(times[start + n - 1]))))
    held.check_invariants()
    ours, theirs = held.current, direct.current
    assert torch.equal(ours.layers[0].table.data_CHN, theirs.layers[0].table.data_CHN)
    assert (ours.next_position, ours.grid_end, ours.n_seen) == (theirs.next_position, theirs.grid_end, theirs.n_seen)
    assert (ours.frames_seen, ours.time_seconds) == (5, 4.0)
    assert ours.features.table.frame_HN.unique().tolist() == [3, 4]
    assert ours.features.n_passed_on == ours.n_seen == 3 * ours.features.n_rows // 2


def _commit_zeros(memory: KVMemory, entering: tuple[VisualTokens, PendingAppend]) -> None:
    tokens, pending = entering
    zeros_KTD = torch.zeros(2, tokens.frame_N.numel(), 2)
    for layer in range(memory.shape.n_layers):
        pending.write(layer, zeros_KTD, zeros_KTD, zeros_KTD)
    memory.commit(pending)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (LayerPlan(torch.tensor([1, 0])), "features: kept rows are not sorted"),
        (LayerPlan(torch.tensor([0, 18])), "features: kept rows reach from 0 to 18, but the layer has rows 0 to 17"),
        (LayerPlan(torch.tensor([0]), (Fold(torch.tensor([3, 4])),)), "a fold without an anchor"),
        (LayerPlan(torch.tensor([0]), (Fold(torch.tensor([3, 4]), anchor=18),)), "anchor is row 18, expected one of"),
        (LayerPlan(torch.tensor([0]), (Fold(torch.tensor([0, 3]), anchor=3),)), "both kept and folded"),
        (LayerPlan(torch.tensor([0]), (Fold(torch.tensor([1, 3]), anchor=3),)), "text is in a fold"),
        (LayerPlan(torch.tensor([0]), (), (Prototype(torch.tensor([3]), torch.ones(1)),)), "a prototype is made of"),
        (LayerPlan(torch.arange(11)), "layer 0: the plan leaves 0 tokens and 11 features, the budget is 10"),
    ],
)
def test_plans_that_cannot_be_are_refused(plan: LayerPlan, message: str) -> None:
    memory = memory_with("time in words", [0, 1], budget=10)
    before = memory.current
    with pytest.raises(PlanError, match=message):
        memory.apply(Plan(features=plan))
    assert memory.current is before


def test_layers_and_features_share_a_budget() -> None:
    memory = empty_memory(2, (7, 7))
    append_prefix(memory, 2)
    append_frames(memory, 2, 3)
    memory.commit_features(encoded("one axis", [2]), 2.0)
    with pytest.raises(PlanError, match="leaves 6 tokens and 6 features, the budget is 7"):
        memory.apply(Plan.keep_all())
    rows_N = torch.arange(3)
    memory.apply(Plan((LayerPlan(rows_N),) * 2, features=LayerPlan(rows_N)))
    assert (memory.current.held_tokens, memory.current.features.n_rows) == ((3, 3), 3)
    memory.check_invariants()


def test_a_lost_token_is_noticed() -> None:
    memory = memory_with("one axis", [0, 1])
    bank = memory.current.features
    memory.current = replace(memory.current, features=bank.select(torch.arange(5)))
    with pytest.raises(InvariantError, match="features: rows stand for 5 tokens, 0 were dropped, 0 went on, 12 came"):
        memory.check_invariants()


def test_bytes_are_those_of_embeddings_and_taps() -> None:
    bank = memory_with("time in words", [0, 1]).current.features
    assert bank.n_bytes == 2 * bank.n_rows * WIDTH * 4


def test_earlier_versions_are_not_disturbed() -> None:
    memory = memory_with("one axis", [0, 1])
    before = memory.current
    bits = before.features.embeddings_NE.clone(), before.features.table.data_CHN.clone()
    memory.apply(Plan(features=LayerPlan(torch.tensor([0]), (Fold(torch.tensor([1, 2]), anchor=1),))))
    memory.commit_features(encoded("one axis", [2]), 2.0)
    assert torch.equal(before.features.embeddings_NE, bits[0])
    assert torch.equal(before.features.table.data_CHN, bits[1])


def test_a_summary_of_keys_may_stand_where_a_row_stood() -> None:
    memory = empty_memory(1)
    append_prefix(memory, 2)
    append_frames(memory, 3, 3)
    before = memory.current.layers[0]
    fold = Fold(torch.tensor([1, 2, 4]), anchor=4)
    memory.apply(Plan((LayerPlan(torch.tensor([0, 3, 7]), (fold,)),)))
    memory.check_invariants()
    table = memory.current.layers[0].table.slice(2)
    assert table.position_RHN[0, 0].tolist() == [2, 5, 6, 9]
    row = [column[0, 2].item() for column in (table.kind_HN, table.frame_HN, table.column_HN, table.count_HN)]
    assert row == [TokenKind.SUMMARY, 1, 1, 3]
    assert table.seconds_HN[0].tolist() == [0.0, 1.0, 1.0, 2.0]
    torch.testing.assert_close(
        memory.current.layers[0].values[:, 4], before.values[:, [3, 4, 6]].mean(dim=1), atol=1e-6, rtol=0
    )
    assert memory.current.next_position == 11


def test_such_a_summary_does_not_move_the_clock_when_gaps_close() -> None:
    memory = empty_memory(1)
    append_prefix(memory, 2)
    append_frames(memory, 3, 3)
    plan = LayerPlan(torch.tensor([0, 3, 7]), (Fold(torch.tensor([1, 2, 4]), anchor=4),))
    memory.apply(Plan((plan,), Positions.COMPACT))
    assert memory.current.layers[0].table.position_RHN[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert memory.current.next_position == 6
