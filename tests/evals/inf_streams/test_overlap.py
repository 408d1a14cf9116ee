"""ROUGE-L and BLEU against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.evals.inf_streams.overlap import bleu, bleu_counts, rouge_l, words_of
from tests.oracles import commentary_oracle

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=40)


@given(WORDS, WORDS)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(candidate: list[str], reference: list[str]) -> None:
    assert rouge_l(candidate, reference) == pytest.approx(commentary_oracle.rouge_l(candidate, reference))


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_bleu_pools_clipped_n_grams_of_all_texts(texts: list[tuple[list[str], list[str]]]) -> None:
    counts_NC = np.array([bleu_counts(*pair) for pair in texts], dtype=np.float64)
    value = bleu(counts_NC.sum(axis=0, keepdims=True))[0]
    assert value == pytest.approx(commentary_oracle.bleu(texts))


def test_equal_texts_share_everything_and_other_words_nothing() -> None:
    said = ["he", "shoots", "and", "he", "scores", "from", "far", "away"]
    counts = np.array([bleu_counts(said, said), bleu_counts(said, ["no"] * 9)], dtype=np.float64)
    assert bleu(counts).tolist() == [1.0, 0.0]
    assert (rouge_l(said, said), rouge_l(said, ["no"] * 9)) == (1.0, 0.0)


def test_case_and_punctuation_do_not_count_and_apostrophes_stay() -> None:
    assert words_of("It’s in! A three-pointer, 4:05 left.") == [
        "it's",
        "in",
        "a",
        "three",
        "pointer",
        "4",
        "05",
        "left",
    ]
