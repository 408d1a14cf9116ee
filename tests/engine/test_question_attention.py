"""The attention of a question is the stock model's eager attention, and asking for it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Engine, KeepAll, RecentFrames, SlidingWindow
from hermes_stream.errors import LimitError
from hermes_stream.models.load import load_adapter
from hermes_stream.types import Frame
from tests.engine.direct import assert_same_bits, memory_bits
from tests.oracles.stock_llava import StockLlava
from tests.oracles.stock_qwen import StockQwen, StockQwen2_5VL, StockQwen3VL
from tests.tiny import make_frames, save_checkpoint

QUESTION = "Which colour is the circle?"


def llava_attentions(folder: Path, adapter: Any, frames: Sequence[Frame]) -> tuple[list[torch.Tensor], int]:
    stock = StockLlava(folder)
    pixels = adapter._preprocess(frames)
    asked = f"\n{QUESTION}<|im_end|><|im_start|>assistant\n"
    prefix, video, newline, text = stock.embeddings(pixels, asked)
    return stock.attentions(torch.cat((prefix, video, newline, text))), 1 + text.shape[0]


def qwen_attentions(
    stock_class: Callable[[Path], StockQwen],
) -> Callable[[Path, Any, Sequence[Frame]], tuple[list[torch.Tensor], int]]:
    def attentions(folder: Path, adapter: Any, frames: Sequence[Frame]) -> tuple[list[torch.Tensor], int]:
        stock = stock_class(folder)
        inputs = stock.inputs(frames, *adapter._patches(frames), QUESTION)
        with torch.no_grad():
            weights = stock.model(**inputs, output_attentions=True).attentions
        return [layer[0] for layer in weights], len(stock.ids(stock.question.format(text=QUESTION)))

    return attentions


STOCK = {
    "llava_onevision": llava_attentions,
    "qwen2_5_vl": qwen_attentions(StockQwen2_5VL),
    "qwen3_vl": qwen_attentions(StockQwen3VL),
}


@pytest.fixture(scope="module", params=STOCK)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("checkpoints") / request.param)


def test_attention_equals_the_stock_models_eager_attention(folder: Path) -> None:
    frames = make_frames(8, seed=3)
    adapter = load_adapter(str(folder))
    expected, n_question = STOCK[folder.name](folder, adapter, frames)
    with Engine(adapter) as engine, engine.open(KeepAll(), chunk=4) as session:
        session.watch(frames)
        found = session.attention(QUESTION)
    assert len(found.by_layer) == len(expected) == 12
    for weight_HN, layer, stock_HTT in zip(found.by_layer, found.version.layers, expected, strict=True):
        stock_HN = stock_HTT[:, -n_question:, :-n_question].mean(dim=1)
        assert weight_HN.shape == (4, layer.n_held) == stock_HN.shape
        assert weight_HN.dtype == torch.float32
        torch.testing.assert_close(weight_HN, stock_HN, atol=1e-5, rtol=0)
    # Heads and layers differ, so that mixing them up would show.
    assert not torch.allclose(found.by_layer[0][0], found.by_layer[0][1], atol=1e-3)
    assert not torch.allclose(found.by_layer[0], found.by_layer[1], atol=1e-3)


def test_memory_stays_bit_identical(folder: Path) -> None:
    """Also where a frame waits for its partner, and after evictions."""
    with Engine(load_adapter(str(folder))) as engine, engine.open(SlidingWindow(budget=100), chunk=4) as session:
        session.watch(make_frames(19, seed=2))
        before, version, waiting = memory_bits(session.stream), session.memory, session.stream.waiting
        found = session.attention(QUESTION)
        assert found.version is session.memory is version
        assert session.stream.waiting is waiting
        assert_same_bits(before, memory_bits(session.stream))
        total_LH = torch.stack([weight_HN.sum(dim=1) for weight_HN in found.by_layer])
        assert bool(((total_LH > 0) & (total_LH < 1)).all())
        # The same question again, and the answer to it, are not disturbed.
        again = session.attention(QUESTION)
        assert all(torch.equal(a, b) for a, b in zip(found.by_layer, again.by_layer, strict=True))
        session.check_invariants()


def test_rows_are_those_that_the_question_sees(llava_folder: Path) -> None:
    """recent-frames holds features: its questions see the prefix and, in their own tail, the frames."""
    with Engine(load_adapter(str(llava_folder))) as engine, engine.open(RecentFrames(budget=40)) as session:
        session.watch(make_frames(8))
        found = session.attention(QUESTION)
        assert all(weight_HN.shape[1] == found.version.n_prefix for weight_HN in found.by_layer)
        with pytest.raises(LimitError, match="positions"):
            session.attention("very " * 600)
