"""How many words two texts share: ROUGE-L and BLEU, by their definitions and without a judge.

Texts are in lower case and without punctuation, so that numbers are not those of tools that split words otherwise.
Shape letters: B resamples, N texts, C counts.

Sources: C.-Y. Lin, ROUGE (2004), section 3 (sentence level, F1); K. Papineni et al., BLEU (2002), section 2 (one
reference, four lengths of equal weight, no smoothing).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_WORD = re.compile(r"\w+(?:'\w+)*")
_ORDERS = (1, 2, 3, 4)


def words_of(text: str) -> list[str]:
    """In lower case; of punctuation only the apostrophe in a word stays."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence; 1 for two empty texts."""
    n_words = len(candidate) + len(reference)
    return 2 * _longest_common(candidate, reference) / n_words if n_words else 1.0


def bleu_counts(candidate: Sequence[str], reference: Sequence[str]) -> list[int]:
    """`[C]`: matching n-grams of each order, n-grams of each order, words said, words of the reference."""
    matches, totals = [], []
    for order in _ORDERS:
        said, wanted = _ngrams(candidate, order), _ngrams(reference, order)
        matches.append((said & wanted).total())
        totals.append(said.total())
    return [*matches, *totals, len(candidate), len(reference)]


def bleu(counts_NC: Floats) -> Floats:
    """`[N]`: of the summed counts of one or more texts, 0 to 1; 0 where an order has no match."""
    n = len(_ORDERS)
    matches, totals = counts_NC[:, :n], counts_NC[:, n : 2 * n]
    n_said, n_wanted = counts_NC[:, -2], counts_NC[:, -1]
    has_all = np.all(matches > 0, axis=1, keepdims=True)
    precision = np.where(has_all, matches, 1) / np.where(has_all, totals, 1)
    brevity = np.minimum(0.0, 1 - n_wanted / np.maximum(n_said, 1))
    value: Floats = np.where(has_all[:, 0], np.exp(np.log(precision).mean(axis=1) + brevity), 0.0)
    return value


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row at a time: a 0 bit is a place where the length grows.

    Source: H. Hyyrö, Bit-parallel LCS-length computation revisited (2004).
    """
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    all_ones = (1 << len(first)) - 1
    row = all_ones
    for word in second:
        found = row & places.get(word, 0)
        row = (row + found | row - found) & all_ones
    return len(first) - row.bit_count()
