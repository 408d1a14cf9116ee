"""The tiny tokenizer: whole words for ShapeStream, bytes for everything else."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hermes_stream.models.llava_onevision import PROMPTS
from hermes_stream.models.load import bundled_models
from hermes_stream.shapestream import TASKS, Viewpoint, make_script, question_at
from hermes_stream.shapestream.script import Dice
from hermes_stream.train.pupils import VIDEO_PAD, VISION_END, VISION_START
from hermes_stream.train.run import FAMILIES
from hermes_stream.train.tokenizer import END_OF_TEXT, IM_END, IM_START, IMAGE, VIDEO, make_tokenizer


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_string_survives_encoding(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    """Unicode is brought to its composed form first, as Qwen2 does."""
    import unicodedata

    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_words_of_shapestream_are_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    dice = Dice(0)
    view = Viewpoint(make_script(900_123, 90.0), 80.0, 1.0)
    drafts = [question_at(view, task, dice) for task in TASKS]
    texts = [text for q in drafts if q is not None for text in (q.question, q.answer)]
    assert len(texts) > 20
    for text in texts:
        # Digits stand alone, so 10 is two tokens.
        words = text.replace("10", "1 0").replace("?", " ?").replace(".", " .").replace(",", " ,").split()
        assert len(tokenizer(text).input_ids) == len(words), tokenizer.tokenize(text)


def test_special_tokens_are_single_tokens_with_ids_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    names = [END_OF_TEXT, IM_START, IM_END, IMAGE, VIDEO]
    assert [tokenizer(name).input_ids for name in names] == [[index] for index in range(len(names))]
    assert tokenizer.eos_token == IM_END


def test_the_prefix_and_the_question_meet_without_merging(tokenizer: PreTrainedTokenizerFast) -> None:
    tail = PROMPTS.question.format(text="What object is visible now?")
    together = tokenizer(tail, add_special_tokens=False).input_ids
    assert together[0] == tokenizer("\n").input_ids[0]
    assert len(tokenizer(PROMPTS.prefix).input_ids) < 20


def test_it_loads_again_with_auto_tokenizer(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = PROMPTS.prefix + PROMPTS.question.format(text="Wie spät ist es in 東京?")
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.eos_token_id == tokenizer.eos_token_id


def test_it_is_the_same_every_time(tokenizer: PreTrainedTokenizerFast) -> None:
    assert make_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_pupils_keep_the_words_and_add_their_own() -> None:
    words = AutoTokenizer.from_pretrained(bundled_models()["tiny-llava-onevision"]).get_vocab()
    for name in ("tiny-qwen2.5-vl", "tiny-qwen3-vl"):
        pupil = FAMILIES[name].make_tokenizer()
        assert all(pupil.get_vocab()[word] == index for word, index in words.items())
        for token in (VISION_START, VISION_END, VIDEO_PAD):
            assert len(pupil(token).input_ids) == 1
            assert pupil.convert_tokens_to_ids(token) >= len(words)


def test_times_are_cheap_in_words() -> None:
    pupil = FAMILIES["tiny-qwen3-vl"].make_tokenizer()
    texts = {"<0.2 seconds>": 2, "<61.2 seconds>": 2, "<100.2 seconds>": 3, "<3599.9 seconds>": 4}
    for text, n_tokens in texts.items():
        ids = pupil(text, add_special_tokens=False).input_ids
        assert len(ids) == n_tokens
        assert pupil.decode(ids) == text
