"""Law 4: with keep-all, any chunking gives the stock model's result for the whole input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, KeepAll
from hermes_stream.models.llava_onevision import LlavaOnevisionAdapter
from hermes_stream.models.load import load_adapter
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.oracles.stock_llava import StockLlava
from tests.tiny import make_frames

QUESTION = "Which colour is the circle?"


@pytest.fixture(scope="module")
def adapter(llava_folder: Path) -> LlavaOnevisionAdapter:
    adapter = load_adapter(str(llava_folder))
    assert isinstance(adapter, LlavaOnevisionAdapter)
    return adapter


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def stock(llava_folder: Path, request: pytest.FixtureRequest) -> StockLlava:
    return StockLlava(llava_folder, attention=request.param)


@pytest.mark.parametrize("piece_frames", [1, 3, 4, 11])
def test_logits_equal_the_stock_forward(adapter: LlavaOnevisionAdapter, stock: StockLlava, piece_frames: int) -> None:
    frames = make_frames(11)
    expected = stock.logits(adapter._preprocess(frames), QUESTION)
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, piece_frames)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_greedy_answers_equal_stock_generate(
    engine: Engine, adapter: LlavaOnevisionAdapter, stock: StockLlava, chunk: int
) -> None:
    frames = make_frames(9, seed=3)
    expected = stock.generate(adapter._preprocess(frames), QUESTION, 12)
    session = engine.open(KeepAll(), chunk=chunk)
    session.watch(frames)
    assert list(session.ask(QUESTION, max_new_tokens=12).result().token_ids) == expected


def test_a_question_before_the_first_frame_is_a_plain_text_prompt(
    adapter: LlavaOnevisionAdapter, stock: StockLlava
) -> None:
    ids = stock.ids("<|im_start|>system \nYou are a helpful assistant.<|im_end|><|im_start|>user ")
    ids += stock.ids(f"\n{QUESTION}<|im_end|><|im_start|>assistant\n")
    with torch.no_grad():
        expected = stock.model(input_ids=torch.tensor([ids])).logits[0, -1]
    stream = open_direct(adapter, KeepAll())
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)
