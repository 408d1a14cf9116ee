"""Evidence is what the stock model's attention says, comes after the last token and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream import Answer, Engine, Evidence, KeepAll, Query, RecentFrames, SlidingWindow, UsageError
from hermes_stream.engine.engine import load_model
from hermes_stream.engine.evidence import evidence_layers, frame_shares
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.shapestream import make_script, render_frame
from hermes_stream.types import Frame
from tests.engine.direct import (
    assert_same_bits,
    assert_same_snapshots,
    make_task,
    memory_bits,
    open_direct,
    take_snapshot,
    watch_direct,
)
from tests.engine.pausing import paused
from tests.oracles import evidence_oracle
from tests.oracles.stock_llava import StockLlava
from tests.oracles.stock_qwen import StockQwen2_5VL, StockQwen3VL
from tests.tiny import make_frames, save_checkpoint

QUESTION = Query("Which colour is the circle?", max_new_tokens=5, evidence=100)
ALL = 100


def llava_attention(folder: Path, adapter: Any, frames: Sequence[Frame], answer: list[int]) -> Any:
    stock = StockLlava(folder)
    asked = f"\n{QUESTION.text}<|im_end|><|im_start|>assistant\n"
    parts = stock.embeddings(adapter._preprocess(frames), asked)
    said_TE = stock.model.get_input_embeddings()(torch.tensor(answer, dtype=torch.int64))
    n_prefix, n_video = parts[0].shape[0], parts[1].shape[0]
    columns = [None] * n_prefix + [row // 9 for row in range(n_video)]
    return stock.attentions(torch.cat((*parts, said_TE)).detach()), columns


def qwen_attention(kind: Any) -> Any:
    def attention(folder: Path, adapter: Any, frames: Sequence[Frame], answer: list[int]) -> Any:
        stock = kind(folder)
        shown = [*frames, frames[-1]] if len(frames) % 2 else list(frames)
        inputs = stock.inputs(shown, *adapter._patches(shown), QUESTION.text)
        n_said = len(answer)
        last_R11 = inputs["position_ids"][..., -1:]
        inputs["input_ids"] = torch.cat((inputs["input_ids"], torch.tensor([answer], dtype=torch.int64)), dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        more = last_R11 + 1 + torch.arange(n_said)
        inputs["position_ids"] = torch.cat((inputs["position_ids"], more), dim=2)
        zeros = torch.zeros(1, n_said, dtype=torch.int64)
        inputs["mm_token_type_ids"] = torch.cat((inputs["mm_token_type_ids"], zeros), dim=1)
        with torch.no_grad():
            weights = stock.model(**inputs, output_attentions=True).attentions
        is_video = inputs["input_ids"][0] == stock.model.config.video_token_id
        n_of_grid = int(is_video.sum()) // (len(shown) // 2)
        order = is_video.cumsum(0) - 1
        columns = [int(order[i]) // n_of_grid if is_video[i] else None for i in range(len(order))]
        return [layer[0] for layer in weights], columns

    return attention


STOCK = {
    "llava_onevision": llava_attention,
    "qwen2_5_vl": qwen_attention(StockQwen2_5VL),
    "qwen3_vl": qwen_attention(StockQwen3VL),
}


@pytest.fixture(scope="module", params=STOCK)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("checkpoints") / request.param)


@pytest.fixture(scope="module", params=["llava_onevision", "qwen3_vl"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = tmp_path_factory.mktemp("checkpoints") / request.param
    return load_adapter(str(save_checkpoint(request.param, folder, num_hidden_layers=3)))


def answer_directly(stream: Stream, query: Query) -> Answer:
    task, _ = make_task(stream, query)
    with torch.inference_mode():
        while True:
            outcome = run_forward(stream.adapter, [task.segment()])
            if (answer := task.accept(int(outcome.largest_A[0]))) is not None:
                return answer


def assert_same_evidence(found: Sequence[Evidence], expected: Sequence[Evidence], tolerance: float) -> None:
    """Frames of nearly the same weight may change places."""
    weights = {evidence.frame: evidence.weight for evidence in expected}
    assert {evidence.frame: evidence.weight for evidence in found} == pytest.approx(weights, abs=tolerance)


@pytest.mark.parametrize("n_frames", [8, 7])
def test_evidence_is_the_stock_models_attention_to_each_frame(folder: Path, n_frames: int) -> None:
    """With an odd frame too, which in pairing families waits in the question's own tail."""
    frames, adapter = make_frames(n_frames, seed=3), load_adapter(str(folder))
    with Engine(adapter) as engine, engine.open(KeepAll(), chunk=4) as session:
        session.watch(frames)
        answer = session.ask(QUESTION).result()
        two = session.ask(Query(QUESTION.text, max_new_tokens=5, evidence=2)).result()
    said = [token for token in answer.token_ids if token not in adapter.stop_token_ids]
    attention, columns = STOCK[folder.name](folder, adapter, frames, said[:-1])
    n_rows, n_choosing = attention[0].shape[1], max(len(said), 1)
    layers = [attention[layer].tolist() for layer in evidence_oracle.middle_third(12)]
    weights = evidence_oracle.frame_weights(layers, columns, range(n_rows - n_choosing, n_rows))
    assert {evidence.frame: evidence.weight for evidence in answer.evidence} == pytest.approx(weights, abs=1e-5)
    assert sum(evidence.weight for evidence in answer.evidence) == pytest.approx(1)
    ordered = [evidence.weight for evidence in answer.evidence]
    assert ordered == sorted(ordered, reverse=True)
    assert two.evidence == answer.evidence[:2]
    per_grid = adapter.facts.frames_per_grid
    for evidence in answer.evidence:
        shown = [frame.pts_seconds for frame in frames[evidence.frame * per_grid :][:per_grid]]
        assert evidence.time_seconds == pytest.approx(sum(shown) / len(shown))


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_names_frames_that_it_saw_and_stays_as_it_was(name: str, small: Adapter) -> None:
    stream = open_direct(small, POLICIES[name]().with_budget(2 * small.facts.tokens_per_frame))
    watch_direct(stream, make_frames(11), 4)
    before = take_snapshot(stream)
    answer = answer_directly(stream, QUESTION)
    assert_same_snapshots(before, take_snapshot(stream))
    frames = [evidence.frame for evidence in answer.evidence]
    assert frames
    assert len(set(frames)) == len(frames)
    assert set(frames) <= set(range(-(-11 // small.facts.frames_per_grid)))
    assert 0 < sum(evidence.weight for evidence in answer.evidence) <= 1 + 1e-9
    plain = answer_directly(stream, Query(QUESTION.text, max_new_tokens=5))
    assert answer.token_ids == plain.token_ids
    assert plain.evidence == ()


def test_frames_that_the_question_alone_runs_are_named_as_held_ones_are(small: Adapter) -> None:
    """recent-frames runs its frames in the question's tail: the same attention as to a memory of these frames."""
    n_grids = 6
    recent, fresh = (
        open_direct(small, policy)
        for policy in (RecentFrames(frames=n_grids, budget=n_grids * small.facts.tokens_per_frame), KeepAll())
    )
    # Six grids are all of the clip where two frames share one: a clip that began later would announce other times.
    frames = make_frames(12, seed=5)
    watch_direct(recent, frames, 4)
    watch_direct(fresh, frames[-n_grids * small.facts.frames_per_grid :], 4)
    found, expected = (answer_directly(stream, QUESTION) for stream in (recent, fresh))
    n_before = 12 // small.facts.frames_per_grid - n_grids
    moved = [Evidence(each.time_seconds, each.frame - n_before, each.weight) for each in found.evidence]
    assert_same_evidence(moved, expected.evidence, 1e-5)


def test_a_memory_in_eight_bits_names_nearly_the_same(small: Adapter) -> None:
    streams = [open_direct(small, KeepAll(memory_bits=bits)) for bits in (16, 8)]
    for stream in streams:
        watch_direct(stream, make_frames(12), 4)
    exact, rounded = (answer_directly(stream, Query("left?", max_new_tokens=1, evidence=ALL)) for stream in streams)
    assert_same_evidence(rounded.evidence, exact.evidence, 0.02)
    assert rounded.evidence != exact.evidence


def test_every_token_is_sent_before_evidence_is_looked_for(small: Adapter) -> None:
    stream = open_direct(small, SlidingWindow(budget=100))
    watch_direct(stream, make_frames(8), 4)
    task, asker = make_task(stream, QUESTION)
    sent = asker._delivery._events
    with torch.inference_mode():
        for _ in range(QUESTION.max_new_tokens):
            outcome = run_forward(small, [task.segment()])
            assert task.accept(int(outcome.largest_A[0])) is None
        assert len(sent) == QUESTION.max_new_tokens
        assert task.segment().n_read == QUESTION.max_new_tokens
        complete_seconds = task._channel.seconds_since_ask()
        answer = task.accept(int(run_forward(small, [task.segment()]).largest_A[0]))
    assert answer is not None
    assert answer.evidence
    assert answer.total_seconds <= complete_seconds
    assert len(sent) == QUESTION.max_new_tokens


def test_evidence_of_packed_questions_equals_that_of_one_alone(small: Adapter) -> None:
    """Beside scores, frames and one another; the memory stays as it is, bit by bit."""
    with Engine(small) as engine, engine.open(SlidingWindow(budget=150), chunk=4) as session:
        session.watch(make_frames(10))
        before, alone = memory_bits(session.stream), session.ask(QUESTION).result()
        with session.fork() as twin:
            with paused(engine):
                asked = [session.ask(QUESTION) for _ in range(3)]
                score = session.score(QUESTION.text)
                coming = engine.submit_watch(twin, make_frames(8, start=10))
            for answer in asked:
                assert answer.result().token_ids == alone.token_ids
                assert_same_evidence(answer.result().evidence, alone.evidence, 1e-5)
            assert score.result().share > 0
            coming.result()
        assert_same_bits(before, memory_bits(session.stream))


def test_an_answer_of_no_words_and_a_memory_of_no_frames(small: Adapter) -> None:
    """The row that chose to say nothing looked at frames too; where there are none there is no evidence."""
    stream = open_direct(small, KeepAll())
    assert answer_directly(stream, QUESTION).evidence == ()
    watch_direct(stream, make_frames(4), 4)
    task, _ = make_task(stream, QUESTION)
    (stop, *_) = small.stop_token_ids
    with torch.inference_mode():
        run_forward(small, [task.segment()])
        assert task.accept(stop) is None
        run_forward(small, [task.segment()])
        answer = task.accept(0)
    assert answer is not None
    assert answer.text == ""
    assert sum(evidence.weight for evidence in answer.evidence) == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), n_layers=st.integers(1, 3), n_rows=st.integers(1, 7), n_kv_heads=st.integers(1, 2))
def test_shares_equal_those_written_out(seed: int, n_layers: int, n_rows: int, n_kv_heads: int) -> None:
    """Heads may hold different rows; summaries count in the whole and for no frame, text and prefix in neither."""
    generator = torch.Generator().manual_seed(seed)
    weights, tables, seconds = [], [], torch.rand(4, generator=generator, dtype=torch.float64)
    masses, total = [0.0] * 4, 0.0
    for layer in range(n_layers):
        # Every other layer holds the same rows in all heads.
        n_table_heads = n_kv_heads if layer % 2 else 1
        kind_GN = torch.randint(0, 4, (n_table_heads, n_rows), generator=generator)
        frame_GN = torch.randint(0, 4, (n_table_heads, n_rows), generator=generator)
        data_CHN = torch.zeros(8, n_table_heads, n_rows, dtype=torch.int64)
        data_CHN[0], data_CHN[1] = kind_GN, frame_GN
        tables.append(TokenTable(data_CHN, seconds[frame_GN].expand(3, -1, -1)))
        weight_HN = torch.rand(2 * n_kv_heads, n_rows, generator=generator)
        weights.append(weight_HN)
        for head in range(2 * n_kv_heads):
            group = head // 2 if n_table_heads > 1 else 0
            for row in range(n_rows):
                kind, mass = int(kind_GN[group, row]), float(weight_HN[head, row])
                total += mass if kind in (TokenKind.VISION, TokenKind.SUMMARY) else 0
                masses[int(frame_GN[group, row])] += mass if kind == TokenKind.VISION else 0
    share_F, seconds_F = frame_shares(weights, tables, 4)
    assert share_F.tolist() == pytest.approx([mass / total if total else 0 for mass in masses], abs=1e-6)
    shown = share_F > 0
    assert torch.equal(seconds_F[shown], seconds[shown])


@pytest.mark.parametrize("n_layers", range(1, 40))
def test_the_layers_are_the_middle_third(n_layers: int) -> None:
    layers = list(evidence_layers(n_layers))
    assert layers == (evidence_oracle.middle_third(n_layers) or layers[:1])
    assert layers
    assert layers[-1] < n_layers


def test_the_first_object_is_found_where_it_was() -> None:
    """A model that answers, on an episode that it was never trained on."""
    script = make_script(990_001, 40.0)
    frames = [Frame(float(second), render_frame(script, float(second), 320, 180)) for second in range(40)]
    first = script.presences[0]
    with load_model("tiny-llava-onevision") as engine, engine.open(KeepAll()) as session:
        session.watch(frames)
        answer = session.ask(Query("What object came first?", evidence=1)).result()
    assert answer.text == str(first.kind)
    assert first.is_visible(answer.evidence[0].time_seconds)


def test_a_number_of_frames_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="evidence is -1; expected 0"):
        Query("x", evidence=-1)
