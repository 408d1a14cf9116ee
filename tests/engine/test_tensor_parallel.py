"""One model over two processes: the same rows are held, and the same is answered, as in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Engine, Query, Session, load_model
from hermes_stream.engine.parallel.wire import from_bytes, to_bytes
from hermes_stream.errors import ConfigError, ModelError, PolicyError
from hermes_stream.memory.sharded_slab import ShardedSlab
from tests.tiny import make_frames, save_checkpoint

from .direct import memory_bits, question_logits

QUESTION = "Which colour is the circle?"
Pair = tuple[Engine, Engine]


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The same random checkpoint in one process and over two; rounding is out of the way."""
    folder = save_checkpoint(request.param, tmp_path_factory.mktemp("spread") / request.param)
    with ExitStack() as stack:
        yield tuple(stack.enter_context(load_model(str(folder), dtype="float64", tensor_parallel=n)) for n in (1, 2))  # type: ignore[misc]


def both(pair: Pair, look: Callable[[Session], Any], memory: str = "hermes(reindex=eager)") -> list[Any]:
    """What a look at a session brings after many intervals, on either engine."""
    found = []
    for engine in pair:
        with engine.open(memory, seed=0) as session:
            session.watch(make_frames(39))
            found.append(look(session))
    return found


def bits(session: Session) -> list[torch.Tensor]:
    return session._engine.call(session, lambda: memory_bits(session.stream))


def assert_same_rows(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    """Tables to the bit, numbers but for the order of sums."""
    for a, b in zip(ours, theirs, strict=True):
        if a.dtype is torch.float64:
            torch.testing.assert_close(a, b, atol=1e-9, rtol=0)
        else:
            assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    "memory",
    [
        "hermes(reindex=eager)", "hermes", "sliding-window", "uniform", "streaming-vlm", "attention-sinks",
        "keep-all", "random", "infinipot-v", "streammem",
    ],
)  # fmt: skip
def test_every_layer_holds_the_rows_of_the_single_process(pair: Pair, memory: str) -> None:
    one, two = both(pair, bits, memory)
    assert_same_rows(one, two)


@pytest.mark.slow
def test_each_rank_holds_half_of_the_heads(pair: Pair) -> None:
    with pair[1].open("sliding-window") as session:
        session.watch(make_frames(8))
        slab = session.stream.memory.current.layers[3].slab
        assert isinstance(slab, ShardedSlab)
        assert slab._local.kinds_KCD[0].shape[0] == 1
        assert session._engine.call(session, lambda: slab.keys(5)).shape[0] == pair[1].model.n_kv_heads == 2


@pytest.mark.slow
def test_a_question_gets_the_same_logits_and_tokens(pair: Pair) -> None:
    def ask(session: Session) -> tuple[torch.Tensor, Any]:
        logits_V = session._engine.call(session, lambda: question_logits(session.stream, QUESTION))
        return logits_V, session.ask(Query(QUESTION, max_new_tokens=12, evidence=3)).result()

    (one_V, one), (two_V, two) = both(pair, ask)
    torch.testing.assert_close(one_V, two_V, atol=1e-9, rtol=0)
    assert len(one.token_ids) > 1
    assert one.token_ids == two.token_ids
    assert [each.frame for each in one.evidence] == [each.frame for each in two.evidence]
    assert one.evidence


@pytest.mark.slow
def test_questions_during_ingest_are_answered_and_change_nothing(pair: Pair) -> None:
    kept = []
    for engine in pair:
        with engine.open(seed=0) as session:
            for start in range(0, 36, 4):
                coming = engine.submit_watch(session, make_frames(4, start=start))
                asked = [session.ask(f"{QUESTION} {number}", max_new_tokens=4) for number in range(2)]
                assert all(answer.result().token_ids for answer in asked)
                coming.result()
            kept.append(bits(session))
    assert_same_rows(*kept)


@pytest.mark.slow
def test_rows_may_be_read_on_any_thread_during_ingest(pair: Pair) -> None:
    with pair[1].open("sliding-window") as session:
        session.watch(make_frames(4))
        version, coming = session.memory, pair[1].submit_watch(session, make_frames(32, start=4))
        n_reads, first = 0, version.layers[5].values.clone()
        while not coming.done() or not n_reads:
            assert torch.equal(version.layers[5].values, first)
            n_reads += 1
        coming.result()


@pytest.mark.slow
def test_a_question_shows_what_all_heads_attend_to(pair: Pair) -> None:
    one, two = both(pair, lambda session: session.attention(QUESTION).by_layer)
    for ours, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)


@pytest.mark.slow
def test_forks_go_on_and_time_is_forgotten_as_in_one_process(pair: Pair) -> None:
    def look(session: Session) -> list[torch.Tensor]:
        with session.fork() as twin:
            session.watch(make_frames(6, start=39))
            twin.watch(make_frames(9, seed=5, start=39))
            session.forget(10.0, 20.0)
            return [*bits(session), *bits(twin)]

    assert_same_rows(*both(pair, look))


@pytest.mark.slow
def test_a_snapshot_moves_from_one_process_to_two_and_back(pair: Pair, tmp_path: Path) -> None:
    def go_on(engine: Engine, path: Path) -> list[torch.Tensor]:
        with engine.restore(path) as session:
            session.watch(make_frames(7, start=39))
            return bits(session)

    for index, name in enumerate(("one", "two")):
        with pair[index].open("hermes") as session:
            session.watch(make_frames(39))
            session.snapshot().save(tmp_path / name)
    assert_same_rows(go_on(pair[0], tmp_path / "one"), go_on(pair[1], tmp_path / "one"))
    assert_same_rows(go_on(pair[0], tmp_path / "two"), go_on(pair[1], tmp_path / "two"))


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["rekv", "v-rex", "tiered"])
def test_a_memory_that_recalls_is_refused_in_a_line_that_names_others(pair: Pair, memory: str) -> None:
    with pytest.raises(PolicyError, match=r"several devices .* take hermes, sliding-window"):
        pair[1].open(memory)


@pytest.mark.slow
def test_rows_of_8_bits_are_refused(pair: Pair) -> None:
    with pytest.raises(ConfigError, match="leave memory_bits out"):
        pair[1].open("hermes", memory_bits=8)


@pytest.mark.slow
def test_keys_without_their_unrotated_ones_are_placed_alike(pair: Pair) -> None:
    found = []
    for engine in pair:
        with engine.open("hermes(reindex=eager)", keep_raw=False) as session:
            session.watch(make_frames(20))
            layers = session.stream.memory.current.layers
            found.append(engine.call(session, lambda layers=layers: [layer.keys.clone() for layer in layers]))
    assert_same_rows(*found)


@pytest.mark.slow
def test_a_warm_up_takes_no_harm(pair: Pair) -> None:
    assert pair[1].warm_up().seconds > 0
    assert pair[1].stats.captures == ()


@pytest.mark.slow
def test_what_is_said_of_a_stream_is_the_same_and_held_alike(pair: Pair) -> None:
    said, held = [], []
    for engine in pair:
        with engine.open("streaming-vlm(budget=300)") as session:
            remarks = session.narrate(QUESTION, tokens_per_second=4).watch(make_frames(8))
            said.append([remark.token_ids for remark in remarks])
            held.append(bits(session))
    assert said[0] == said[1]
    assert any(said[0])
    assert_same_rows(*held)


@pytest.mark.slow
def test_slabs_that_nobody_uses_are_given_back(pair: Pair) -> None:
    engine = pair[1]
    with engine.open("sliding-window") as session:
        session.watch(make_frames(12))
        shard = session.stream.memory.current.layers[0].slab._ranks.shard  # type: ignore[attr-defined]
        n_before = len(shard.slabs)
        session.watch(make_frames(24, start=12))
        assert len(shard.slabs) <= n_before + session.stream.facts.n_layers


@pytest.mark.parametrize(
    ("model", "options", "line"),
    [
        ("tiny-qwen3-vl", {"tensor_parallel": 2}, "no plan for spreading 'qwen3_vl'"),
        ("tiny-llava-onevision", {"tensor_parallel": 3}, "2 key/value heads do not divide among 3 devices"),
        ("random:qwen2.5-vl-7b", {"tensor_parallel": 2}, "random weights are made on one device"),
    ],
)
def test_a_checkpoint_that_cannot_be_spread_is_refused_before_it_is_loaded(
    model: str, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(ModelError, match=line):
        load_model(model, **options)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"tensor_parallel": 0}, "tensor_parallel is 0"),
        ({"tensor_parallel": 2, "device_map": "auto"}, "device_map and tensor_parallel were given"),
        ({"tensor_parallel": 2, "quantization": "torchao-int8"}, "quantization and tensor_parallel were given"),
        ({"tensor_parallel": 2, "device": "cuda:1"}, "device 'cuda:1' and tensor_parallel were given"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        load_model(**options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_what_travels_arrives_as_it_was_without_the_rest_of_its_storage(dtype: torch.dtype) -> None:
    whole = torch.arange(60_000).remainder(7).to(dtype).reshape(3, 20_000)
    part, empty = whole[1:, 5:9], whole[:, :0]
    data = to_bytes([(max, (part, "word")), (min, (part, empty))])
    assert len(data) < 2_000
    (function, (first, word)), (_, (again, nothing)) = from_bytes(data)
    assert function is max
    assert word == "word"
    assert again is first
    assert first.dtype is dtype
    assert torch.equal(first, part)
    assert nothing.shape == (3, 0)
