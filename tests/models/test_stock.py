"""A model object of its own: the same weights, answers that transformers gives, and no trace in the adapter's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from hermes_stream import Engine, Query
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.tiny import make_frames

N_TOKENS = 4


@pytest.fixture(scope="module")
def adapter(llava_folder: Path) -> Adapter:
    return load_adapter(str(llava_folder))


@pytest.fixture(scope="module")
def prompt(adapter: Adapter) -> tuple[torch.Tensor, torch.Tensor]:
    """Prefix and five frames; a question."""
    with torch.inference_mode():
        tokens = adapter.embed(make_frames(5), since_seconds=0.0)
        window_TE = torch.cat((adapter.prefix(), tokens.embeddings_NE))
        return window_TE, adapter.question("Which colour?", after_video=True)


def test_generating_and_a_growing_cache_answer_as_a_model_loaded_anew(
    adapter: Adapter, prompt: tuple[torch.Tensor, torch.Tensor], llava_folder: Path
) -> None:
    window_TE, question_TE = prompt
    model = adapter.stock_model()
    answer, cache = model.generate(torch.cat(prompt), N_TOKENS)
    # The oracle: whole inputs, one token after the other, no cache.
    stock = AutoModelForImageTextToText.from_pretrained(llava_folder).eval()
    ids: list[int] = []
    with torch.inference_mode():
        for _ in range(N_TOKENS):
            said_TE = stock.get_input_embeddings()(torch.tensor(ids, dtype=torch.int64))
            logits = stock(inputs_embeds=torch.cat((*prompt, said_TE))[None], use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
    assert list(answer.token_ids) == ids
    fed = model.cache()
    for part_TE in window_TE.split(11):
        fed.extend(part_TE)
    cache.crop(window_TE.shape[0])
    for held in (cache, fed):
        assert held.n_rows == window_TE.shape[0]
        n_bytes = held.n_bytes
        for _ in range(2):
            assert held.ask(question_TE, N_TOKENS).token_ids == answer.token_ids
            assert (held.n_rows, held.n_bytes) == (window_TE.shape[0], n_bytes)


def test_tokens_have_their_times(adapter: Adapter, prompt: tuple[torch.Tensor, torch.Tensor]) -> None:
    answer, cache = adapter.stock_model().generate(torch.cat(prompt), N_TOKENS)
    for seconds in (answer.seconds, cache.ask(prompt[1], N_TOKENS).seconds):
        assert len(seconds) == N_TOKENS
        assert seconds[0] > 0
        assert sorted(seconds) == list(seconds)


def test_weights_are_shared_and_the_engine_goes_on(adapter: Adapter, prompt: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Both answer in turn, each with an attention of its own."""
    model = adapter.stock_model()
    own = {parameter.data_ptr() for parameter in adapter._model.parameters()}  # type: ignore[attr-defined]
    assert {parameter.data_ptr() for parameter in model._model.parameters()} == own
    expected = model.generate(torch.cat(prompt), N_TOKENS)[0].token_ids
    with Engine(adapter) as engine, engine.open("keep-all") as session:
        session.watch(make_frames(5))
        ours = session.ask(Query("Which colour?", max_new_tokens=N_TOKENS)).result().token_ids
    n = len(ours)
    assert ours == expected[:n]
    assert n >= 1
    assert model.generate(torch.cat(prompt), N_TOKENS)[0].token_ids == expected
