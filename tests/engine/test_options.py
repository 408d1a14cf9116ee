"""Multiple choice: options are data, from the prompt to HERMES' history."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream import Answer, Engine, KeepAll, Query
from hermes_stream.engine.answer import AnswerTask
from hermes_stream.errors import UsageError
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.hermes import Hermes
from hermes_stream.types import Turn
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.oracles.stock_llava import StockLlava
from tests.tiny import make_frames

CHOICE = Query("What is it?", options=("a cat", "a dog", "a cow"))


def test_the_wording_is_that_of_the_release() -> None:
    assert (
        CHOICE.prompt == "Question: What is it?\nOptions:\n(A) a cat\n(B) a dog\n(C) a cow\nOnly give the best option."
    )
    assert (CHOICE.answer_start, Query("x").answer_start, Query("x").prompt) == ("Best option: (", "", "x")


def test_logits_equal_the_stock_forward_of_the_same_text(llava_folder: Path) -> None:
    frames = make_frames(4)
    adapter = load_adapter(str(llava_folder))
    stream = open_direct(adapter, KeepAll())
    watch_direct(stream, frames, 4)
    ours = question_logits(stream, CHOICE)
    stock = StockLlava(llava_folder)
    asked = f"\n{CHOICE.prompt}<|im_end|><|im_start|>assistant\n"
    # Two pieces, as the engine encodes them: words at the seam are not merged into one token.
    parts = stock.embeddings(adapter._preprocess(frames), asked, "Best option: (")  # type: ignore[attr-defined]
    hidden = stock.model.model.language_model(inputs_embeds=torch.cat(parts)[None]).last_hidden_state
    torch.testing.assert_close(ours, stock.model.lm_head(hidden)[0, -1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("C", "a cow"),
        ("(C)", "a cow"),
        ("B.", "a dog"),
        (" A) ", "a cat"),
        ("D", "D"),
        ("C) a cow", "C) a cow"),
        ("", ""),
    ],
)
def test_a_lone_letter_means_its_option(answer: str, meant: str) -> None:
    assert CHOICE.meant_by(answer) == meant
    assert Query("What is it?").meant_by(answer) == answer


def test_the_last_option_enters_the_history_alone(llava_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release parses options back out of its own prompt, whose last one then ends "Only give the best option"."""
    monkeypatch.setattr(AnswerTask, "accept", _answer_c)
    with Engine(load_adapter(str(llava_folder))) as engine, engine.open(KeepAll()) as session:
        session.watch(make_frames(2))
        session.ask(CHOICE, remember=True).result()
        assert session.stream.history == (Turn("What is it?", "a cow", 0.0),)
    (probe,) = Hermes(budget=8, borders=(0, 0)).probes([9] * 10, session.stream.history, StreamFacts(10, 1, "any"))
    assert "Answer: a cow. Summarize" in probe.text
    assert "Only give" not in probe.text


def _answer_c(_: AnswerTask, token_id: int) -> Answer:
    """Whatever the random model says, the answer is the last letter."""
    assert token_id >= 0
    return Answer("C", (0,), 0.0, 0.0, 0.0, 2, (18,), 1)


@pytest.mark.parametrize("options", [("only one",), tuple("abcdefghijklmnopqrstuvwxyz1")])
def test_impossible_options(options: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"options .* expected none, or 2 to 26 texts"):
        Query("x", options=options)
