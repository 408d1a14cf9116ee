"""Streams with commentary: what is said is what the whole text and all frames would give, by any policy, bounded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, KeepAll, Policy, RecentFrames, Session, SlidingWindow, StreamingVLM, UsageError
from hermes_stream.engine.commentary.narration import Remark
from hermes_stream.memory.rope import rotate
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.turns import Part, segments_of
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.types import Frame, Query
from tests.oracles.narrated_oracle import WholeCommentary, narrated_whole
from tests.tiny import make_frames, save_checkpoint

INSTRUCTION = "Which colour is left?"
N_TOKENS = 5
# A round of two frames, in one grid of 36 tokens, and its text; and a budget of three.
ROUND_ROWS = 36 + 75
BUDGET = 3 * ROUND_ROWS
# A round of two frames, in one grid of 36 tokens, and its text; and a budget of three.
ROUND_ROWS = 36 + 75
BUDGET = 3 * ROUND_ROWS
# Of these, frames do not go through the text model as they come.
HOLD_BACK = {"causalmem", "dscache", "event-forest", "fluxmem", "recent-frames", "savemem"}


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = save_checkpoint(
        request.param,
        tmp_path_factory.mktemp("checkpoints") / request.param,
        num_hidden_layers=3,
        max_position_embeddings=1024,
    )
    with Engine(load_adapter(str(folder))) as engine:
        yield engine


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("checkpoints") / "qwen"
    with Engine(
        load_adapter(str(save_checkpoint("qwen2_5_vl", folder, num_hidden_layers=2, max_position_embeddings=2048)))
    ) as engine:
        yield engine


def half_seconds(n: int, *, start: int = 0, seed: int = 0) -> list[Frame]:
    """Two frames a second, from a second on."""
    frames = make_frames(n, seed=seed)
    return [Frame(start + index / 2, frame.image_YXC) for index, frame in enumerate(frames)]


def said(remarks: list[Remark]) -> list[tuple[float, tuple[int, ...]]]:
    return [(remark.start_seconds, remark.token_ids) for remark in remarks]


def parts(session: Session) -> list[tuple[str, int]]:
    table = session.memory.layers[0].table
    return [(segment.part.name, segment.round_index) for segment in segments_of(table)]


@pytest.mark.parametrize("policy", [KeepAll(), RecentFrames(frames=100)], ids=str)
def test_words_are_those_of_the_whole_text_and_all_frames(engine: Engine, policy: Policy) -> None:
    """Rounds begin at the video's times; three frames and one make whole grids; a second without any is no round."""
    frames = [*half_seconds(4), Frame(2.0, make_frames(1, seed=3)[0].image_YXC), *half_seconds(3, start=5, seed=4)]
    rounds = [(0.0, frames[:2]), (1.0, frames[2:4]), (2.0, frames[4:5]), (5.0, frames[5:7]), (6.0, frames[7:])]
    expected = narrated_whole(engine._adapter, rounds, INSTRUCTION, "red green", N_TOKENS)
    with engine.open(policy) as session:
        narration = session.narrate(INSTRUCTION, previous="red green", tokens_per_second=N_TOKENS)
        remarks = list(narration.watch(frames))
        session.check_invariants()
    stops = engine._adapter.stop_token_ids
    assert [[token for token in remark.token_ids if token not in stops] for remark in remarks] == expected
    assert [(remark.start_seconds, remark.end_seconds) for remark in remarks] == [
        (0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (5.0, 6.0), (6.0, 7.0)
    ]  # fmt: skip


def test_a_round_is_a_turn_of_frames_and_a_turn_of_words(engine: Engine) -> None:
    with engine.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, previous="red", tokens_per_second=N_TOKENS)
        list(narration.watch(half_seconds(4)))
        found = parts(session)
    has_time = bool(engine.commentary.time)
    turn = ["USER_OPEN", *(["TIME"] if has_time else []), "FRAMES"]
    reply = ["USER_CLOSE", "REPLY_OPEN", "WORD", "REPLY_CLOSE"]
    assert [name for name, _ in found if name != "SILENCE"] == [
        "PREVIOUS_OPEN", "PREVIOUS_WORD", "PREVIOUS_CLOSE", *turn, *reply, *turn
    ]  # fmt: skip
    assert sorted({index for _, index in found}) == [0, 1]


def test_who_is_silent_without_trying_leaves_the_marker(qwen: Engine) -> None:
    with qwen.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        remark = narration.round(0, half_seconds(2), speaks=False)
        list(narration.watch(half_seconds(2, start=1)))
        assert ("SILENCE", 0) in parts(session)
        assert ("WORD", 0) not in parts(session)
    assert (remark.text, remark.was_skipped) == ("", True)


def test_a_reply_that_was_cut_survives_whole(qwen: Engine) -> None:
    with qwen.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=20)
        remarks = list(narration.watch(half_seconds(4)))
        (words,) = [s for s in segments_of(session.memory.layers[0].table) if s.part is Part.WORD]
    assert remarks[0].is_cut
    assert words.length == len(remarks[0].token_ids) == 20


@pytest.mark.parametrize("name", POLICIES)
def test_any_policy_carries_a_commentary(qwen: Engine, name: str, tmp_path: Path) -> None:
    """Its memory is bounded; questions disturb nothing; saved midway, it goes on identically."""
    policy = POLICIES[name]().with_budget(BUDGET)
    frames, later = half_seconds(12), half_seconds(6, start=6, seed=1)
    with qwen.open(policy, chunk=4) as session, qwen.open(policy, chunk=4) as unasked:
        remarks = []
        narrations = [each.narrate(INSTRUCTION, tokens_per_second=N_TOKENS) for each in (session, unasked)]
        for remark in narrations[0].watch(frames):
            session.check_invariants()
            session.ask("Which colour?", max_new_tokens=3).result()
            remarks.append(remark)
        assert said(list(narrations[1].watch(frames))) == said(remarks)
        session.snapshot().save(tmp_path / "midway")
        with qwen.restore(tmp_path / "midway") as restored:
            after = said(list(restored.narrate().watch(later)))
            assert after == said(list(narrations[1].watch(later))) == said(list(narrations[0].watch(later)))
            assert restored.memory.held_tokens == unasked.memory.held_tokens
        if policy.is_bounded:
            assert session.stats.n_compressions > 0
            # An interval is two rounds, and the reply to the newest one comes after the plan.
            held = max(session.memory.held_tokens) + session.memory.features.n_rows
            assert held <= BUDGET + 3 * ROUND_ROWS


def test_a_question_is_answered_from_the_round_that_is_open(engine: Engine) -> None:
    """As in training: in the turn of the newest frames, before the words; nothing of it stays."""
    adapter, frames = engine._adapter, half_seconds(4)
    with engine.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        list(narration.watch(frames))
        held = session.memory.held_tokens
        answer = session.ask("Which colour is the circle?", max_new_tokens=1).result()
        assert session.memory.held_tokens == held
    prompts, whole = adapter.commentary, WholeCommentary(adapter)
    with torch.inference_mode():
        whole.text(prompts.opening(INSTRUCTION))
        whole.text(prompts.previous_open)
        whole.text(prompts.previous_close)
        whole.text(prompts.before_frames(0.0, 1.0))
        whole.frames(frames[:2])
        whole.text(prompts.after_frames())
        whole.reply(N_TOKENS, prompts.turn_close)
        whole.text(prompts.turn_end)
        whole.text(prompts.before_frames(1.0, 2.0))
        whole.frames(frames[2:])
        whole.text(prompts.after_frames("Which colour is the circle?"))
        assert answer.token_ids == (whole.next_token(),)


@pytest.mark.parametrize("preset", ["", "released"])
def test_the_instruction_stays_for_ever_but_in_the_release(qwen: Engine, preset: str) -> None:
    """Pinned it is in the prefix; the release asks it in the first round, with which it leaves."""
    windows = {"seconds": 2, "text_seconds": 2, "text_head": 3, "text_tail": 3, "budget": 300}
    policy = StreamingVLM(**{**StreamingVLM.presets.get(preset, {}), **windows})
    prompts, ids = qwen.commentary, qwen._adapter.token_ids
    asked = []
    with qwen.open(policy) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        for second in range(5):
            narration.round(second, half_seconds(2, start=second))
            asked.append(("USER_CLOSE", 0) in parts(session) and second == 0)
        n_prefix = session.memory.n_prefix
    assert n_prefix == len(ids(prompts.opening(INSTRUCTION if not preset else "")))
    assert asked == [bool(preset), False, False, False, False]


def test_memory_and_positions_are_flat_over_many_rounds(qwen: Engine) -> None:
    """Rounds of 60 positions, 512 of the model: what is held is flat, and so are positions."""
    with qwen.open(StreamingVLM(seconds=3, text_head=8, text_tail=8, budget=280)) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        held, places = [], []
        for second in range(60):
            narration.round(second, half_seconds(2, start=second, seed=second % 5))
            held.append(session.memory.held_tokens[0])
            places.append(session.memory.next_position)
        session.check_invariants()
    assert max(held[30:]) <= max(held[10:30])
    assert max(places[30:]) <= max(places[10:30]) < 400


def test_native_positions_grow_until_they_run_out(qwen: Engine) -> None:
    ends = {}
    for positions in ("contiguous", "native"):
        with qwen.open(StreamingVLM(seconds=2, text_head=4, text_tail=4, budget=280, positions=positions)) as session:
            narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
            ends[positions] = []
            for second in range(6):
                narration.round(second, half_seconds(2, start=second, seed=second))
                ends[positions].append(session.memory.next_position)
    assert ends["native"][-1] > ends["contiguous"][-1]
    assert all(after > before for before, after in zip(ends["native"][:-1], ends["native"][1:], strict=True))


def test_a_narrated_session_takes_its_frames_from_the_narration(qwen: Engine) -> None:
    with qwen.open(SlidingWindow(budget=400)) as session:
        session.narrate(INSTRUCTION)
        with pytest.raises(UsageError, match="give its frames to what `narrate"):
            session.watch(make_frames(1))
        with pytest.raises(UsageError, match="narrated already"):
            session.narrate("Another one")


def test_a_session_that_has_watched_cannot_be_narrated(qwen: Engine) -> None:
    with qwen.open(SlidingWindow(budget=400)) as session:
        session.watch(make_frames(2))
        with pytest.raises(UsageError, match="narrate one from its first frame on"):
            session.narrate(INSTRUCTION)


def test_times_must_not_fall(qwen: Engine) -> None:
    with qwen.open(SlidingWindow(budget=400)) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        with pytest.raises(UsageError, match="times must not fall"):
            list(narration.watch([*half_seconds(2, start=3), *half_seconds(1)]))


@pytest.mark.parametrize("settings", [{"step_seconds": 0.0}, {"tokens_per_second": -1.0}, {"temperature": -1.0}])
def test_settings_that_cannot_be_are_refused(qwen: Engine, settings: dict[str, float]) -> None:
    with qwen.open(SlidingWindow(budget=400)) as session, pytest.raises(UsageError, match=next(iter(settings))):
        session.narrate(INSTRUCTION, **settings)


def test_words_about_forgotten_frames_are_gone_too(qwen: Engine) -> None:
    with qwen.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        list(narration.watch(half_seconds(6)))
        session.forget(1.0, 3.0)
        list(narration.watch(half_seconds(2, start=3)))
        assert {index for name, index in parts(session) if name == "WORD"} == {0}
        session.check_invariants()


def test_a_fork_speaks_for_itself(qwen: Engine) -> None:
    with qwen.open(StreamingVLM(budget=280, seconds=3)) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        list(narration.watch(half_seconds(6)))
        with session.fork() as fork:
            other = said(list(fork.narrate().watch(half_seconds(4, start=3, seed=9))))
            assert said(list(narration.watch(half_seconds(4, start=3, seed=9)))) == other


def test_two_at_once_say_what_each_says_alone(qwen: Engine) -> None:
    """Rounds of one share forwards with words of the other."""

    def narrate(seed: int) -> list[tuple[float, tuple[int, ...]]]:
        with qwen.open(StreamingVLM(budget=280, seconds=3)) as session:
            narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
            return said(list(narration.watch(half_seconds(12, seed=seed))))

    alone = [narrate(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(narrate, (1, 2))) == alone


def test_answers_can_be_scored_and_name_their_evidence(qwen: Engine) -> None:
    with qwen.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        list(narration.watch(half_seconds(6)))
        scores = session.score("Is it red?").result()
        answer = session.ask(Query("Which colour?", max_new_tokens=2, evidence=2)).result()
    assert sum(scores.probabilities) == pytest.approx(1.0)
    assert 0 < len(answer.evidence) <= 2


def test_the_past_can_be_asked(qwen: Engine) -> None:
    with qwen.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        list(narration.watch(half_seconds(8)))
        with session.as_of(1.9) as past:
            assert past.ask("Which colour?", max_new_tokens=2).result().frames_seen == 4
            assert {index for name, index in parts(past) if name == "WORD"} == {0, 1}
            past.check_invariants()


@pytest.mark.parametrize(
    "spec",
    [
        "streaming-vlm + recent(frames=2)",
        "dtd(drop=0.5) | hermes + fresh(frames=1)",
        "change-gate | sliding-window(memory_bits=8)",
    ],
)
def test_compositions_carry_a_commentary(engine: Engine, spec: str) -> None:
    with engine.open(spec, budget=3 * (engine.model.tokens_per_frame + 70), chunk=4) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        assert len(list(narration.watch(half_seconds(20)))) == 10
        session.check_invariants()
        assert session.stats.n_compressions > 0


def laid_out_afresh(table: TokenTable) -> torch.Tensor:
    """Text takes the same running number on all axes; cells stand in a grid that begins where text would."""
    kinds, rows, columns = table.kind_HN[0].tolist(), table.row_HN[0].tolist(), table.column_HN[0].tolist()
    frames, n_axes = table.frame_HN[0].tolist(), table.position_RHN.shape[0]
    places, end, corner, grid = list[list[int]](), 0, 0, None
    for kind, row, column, frame in zip(kinds, rows, columns, frames, strict=True):
        if kind != TokenKind.VISION or n_axes == 1:
            grid = None
            places.append([end] * n_axes)
        else:
            corner, grid = (corner, grid) if frame == grid else (end, frame)
            places.append([corner, corner + row, corner + column])
        end = max(end, max(places[-1]) + 1)
    return torch.tensor(places).T


def test_after_a_plan_positions_are_those_of_a_fresh_layout_and_keys_stand_there(engine: Engine) -> None:
    """Words that moved, and turns whose neighbours left, in one dimension and in three."""
    policy = StreamingVLM(budget=600, seconds=3, text_seconds=4, text_head=6, text_tail=9)
    with engine.open(policy) as session:
        narration = session.narrate(INSTRUCTION, previous="red green", tokens_per_second=N_TOKENS)
        list(narration.watch(half_seconds(24)))
        rope = engine._adapter.rope
        for layer in session.memory.layers:
            assert torch.equal(layer.table.position_RHN[:, 0], laid_out_afresh(layer.table))
            cos, sin = rope.tables(layer.table.position_RHN, torch.float32)
            expected = rotate(layer.raw_keys(rope), cos, sin)
            torch.testing.assert_close(layer.keys, expected, atol=1e-5, rtol=0)
        assert session.memory.next_position == int(session.memory.layers[0].table.position_RHN.max()) + 1


def test_no_grid_reaches_over_a_gap_within_a_second(qwen: Engine) -> None:
    """Each side is completed with its own frame: two grids of two frames that were shown."""
    before, after = half_seconds(2)
    with qwen.open(KeepAll()) as session:
        narration = session.narrate(INSTRUCTION, tokens_per_second=N_TOKENS)
        session.mark_gap(0.1, 0.4, "away")
        narration.round(0, [before, after])
        assert (session.memory.frames_seen, session.memory.grids_seen) == (2, 2)
        table = session.memory.layers[0].table
        is_vision_N = table.kind_HN[0] == TokenKind.VISION
        assert table.seconds_HN[0, is_vision_N].unique().tolist() == [0.0, 0.5]


def test_a_question_before_the_first_frame_has_a_turn_of_its_own(engine: Engine) -> None:
    prompts, whole = engine.commentary, WholeCommentary(engine._adapter)
    with engine.open(KeepAll()) as session:
        session.narrate(INSTRUCTION)
        answer = session.ask("Which colour?", max_new_tokens=1).result()
    with torch.inference_mode():
        for text in (prompts.opening(INSTRUCTION), prompts.previous_open, prompts.previous_close, prompts.user_open):
            whole.text(text)
        whole.text(prompts.question.format(text="Which colour?"))
        whole.text(prompts.user_close + prompts.assistant_open)
        assert answer.token_ids == (whole.next_token(),)
