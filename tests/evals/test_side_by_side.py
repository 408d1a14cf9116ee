"""Many sessions together, their frames encoded once: the same answers as each alone, on an engine of its own."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from hermes_stream import Engine, Frame, Query
from hermes_stream.engine.batch import PackedBatch
from hermes_stream.engine.timeline import TimedQuestion, answer_in_time
from hermes_stream.errors import LimitError
from hermes_stream.evals.item import Item
from hermes_stream.evals.shared_encoding import SharedEncoding, share_encoding
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.models.load import load_adapter
from hermes_stream.types import Answer, VisualTokens
from tests.evals.asked import answers_in_one_pass, plain_item
from tests.tiny import make_frames, save_checkpoint

FAMILIES = ("llava_onevision", "qwen2_5_vl", "qwen3_vl")
MEMORIES = ("hermes", "sliding-window", "recent-frames")
# Between frames, at a frame, two at one moment, and after the end; after odd numbers of frames and even ones.
TIMES = (0.5, 4.0, 4.0, 6.5, 7.2, 100.0)
N_FRAMES = 11


class Counting:
    """An adapter that notes what it encodes."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.encoded: list[tuple[float, ...]] = []

    def embed(self, frames: Sequence[Frame], *, since_seconds: float, wants_saliency: bool = False) -> VisualTokens:
        return self.embed_clips([Clip(frames, since_seconds)], wants_saliency=wants_saliency)[0]

    def embed_clips(self, clips: Sequence[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        self.encoded += [tuple(frame.pts_seconds for frame in clip.frames) for clip in clips]
        return self._adapter.embed_clips(clips, wants_saliency=wants_saliency)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


@pytest.fixture(scope="module", params=FAMILIES)
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return load_adapter(str(save_checkpoint(request.param, tmp_path_factory.mktemp("model") / request.param)))


def question(label: int) -> Query:
    return Query(f"Which colour is number {label}?", max_new_tokens=2)


def items() -> list[Item]:
    return [plain_item(label, at, question(label).text, meta={"length": 2}) for label, at in enumerate(TIMES)]


Given = list[tuple[int, tuple[int, ...], tuple[int, ...]]]


def together(adapter: Adapter, memories: Sequence[str]) -> dict[str, Given]:
    given: dict[str, Given] = {memory: [] for memory in memories}
    with Engine(adapter) as engine:
        side = SideBySide({memory: engine.open(memory, seed=3) for memory in memories})
        for label, answers in answers_in_one_pass(side, make_frames(N_FRAMES), items()):
            for memory, answer in answers.items():
                given[memory].append((int(label), answer.token_ids, answer.held_tokens))
    return given


def alone(adapter: Adapter, memory: str) -> Given:
    with Engine(adapter) as engine:
        session = engine.open(memory, seed=3)
        return [
            (asked.label, answer.token_ids, answer.held_tokens)
            for asked, answer in answer_in_time(
                session,
                make_frames(N_FRAMES),
                [TimedQuestion(at, question(label), label) for label, at in enumerate(TIMES)],
                batch_frames=4,
            )
        ]


def test_answers_do_not_depend_on_company_nor_on_shared_encoding(adapter: Adapter) -> None:
    expected = {memory: alone(adapter, memory) for memory in MEMORIES}
    assert together(share_encoding(adapter), MEMORIES) == expected
    assert [label for label, _, _ in expected["hermes"]] == list(range(len(TIMES)))


def test_all_sessions_together_encode_what_one_encodes(adapter: Adapter) -> None:
    """Also the frames of a grid whose partner has not come yet, which each question encodes for itself."""
    one, shared = Counting(adapter), Counting(adapter)
    together(share_encoding(cast(Adapter, one)), MEMORIES[:1])
    together(share_encoding(cast(Adapter, shared)), MEMORIES)
    assert shared.encoded == one.encoded


def test_who_fails_is_out_and_the_others_answer_as_before(llava_folder: Path) -> None:
    """keep-all has no room for 60 frames of 9 tokens."""
    asked = [plain_item(at, at) for at in (20.0, 100.0)]
    answers = {}
    for memories in (["sliding-window"], ["sliding-window", "keep-all"]):
        with Engine(load_adapter(str(llava_folder))) as engine:
            side = SideBySide({memory: engine.open(memory) for memory in memories})
            answers[len(memories)] = list(answers_in_one_pass(side, make_frames(60), asked))
    assert list(side.sessions) == ["sliding-window"]
    assert isinstance(side.failed["keep-all"], LimitError)
    assert [set(given) for _, given in answers[2]] == [{"sliding-window", "keep-all"}, {"sliding-window"}]
    assert [_fixed(given) for _, given in answers[2]] == [_fixed(given) for _, given in answers[1]]


def _fixed(given: dict[str, Answer]) -> tuple[object, ...]:
    answer = given["sliding-window"]
    return answer.token_ids, answer.held_tokens, answer.frames_seen, answer.time_seconds


class Breaking:
    """An adapter of which some forwards fail, whoever is in them."""

    def __init__(self, adapter: Adapter, failing: Container[int]) -> None:
        self._adapter = adapter
        self._failing = failing
        self.n_forwards = 0

    def run(self, batch: PackedBatch) -> torch.Tensor:
        self.n_forwards += 1
        if self.n_forwards in self._failing:
            raise RuntimeError("this forward fails")
        return self._adapter.run(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


@pytest.mark.parametrize("memory", ["sliding-window", "uniform"])
def test_who_is_in_a_failed_forward_tries_again_alone(llava_folder: Path, memory: str) -> None:
    """A forward fails now and then: no frame is lost or seen twice, and nobody leaves."""
    asked = [plain_item(at, at) for at in (6.5, 8.5, 99.0)]
    breaking = Breaking(load_adapter(str(llava_folder)), range(5, 1000, 11))
    with Engine(cast(Adapter, breaking)) as engine:
        side = SideBySide({seed: engine.open(memory, seed=seed) for seed in (1, 2)})
        answers = list(answers_in_one_pass(side, make_frames(13), asked))
    assert breaking.n_forwards > 5
    assert not side.failed
    assert [[answer.frames_seen for answer in given.values()] for _, given in answers] == [[7, 7], [9, 9], [13, 13]]


def test_who_fails_alone_too_is_out(llava_folder: Path) -> None:
    asked = [plain_item("only", 99.0)]
    with Engine(cast(Adapter, Breaking(load_adapter(str(llava_folder)), range(5, 1000)))) as engine:
        side = SideBySide({seed: engine.open("sliding-window", seed=seed) for seed in (1, 2)})
        assert list(answers_in_one_pass(side, make_frames(13), asked)) == []
    assert [str(error) for error in side.failed.values()] == ["this forward fails"] * 2


@pytest.fixture
def counting(llava_folder: Path) -> Iterator[tuple[Counting, SharedEncoding]]:
    inner = Counting(load_adapter(str(llava_folder)))
    with torch.inference_mode():
        yield inner, SharedEncoding(cast(Adapter, inner))


def test_only_the_same_frames_in_the_same_order_of_the_same_stream_are_known(
    counting: tuple[Counting, SharedEncoding],
) -> None:
    inner, shared = counting
    first, second = make_frames(2)
    twin = Frame(first.pts_seconds, first.image_YXC)
    batches = [([first, second], 0.0), ([second, first], 0.0), ([first], 0.0), ([twin], 0.0), ([first, second], 1.0)]
    for frames, since_seconds in batches * 2:
        shared.embed(frames, since_seconds=since_seconds)
    assert len(inner.encoded) == len(batches)


def test_only_the_last_batches_are_held(counting: tuple[Counting, SharedEncoding]) -> None:
    inner, shared = counting
    frames = make_frames(30)
    for frame in frames:
        shared.embed([frame], since_seconds=0.0)
    shared.embed(frames[-1:], since_seconds=0.0)
    assert len(inner.encoded) == 30
    shared.embed(frames[:1], since_seconds=0.0)
    assert len(inner.encoded) == 31
