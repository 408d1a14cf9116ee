"""How much tokens and frames resemble texts, as late interaction sees it; and the gate that decides by it.

Source: SAVEMem, from its description and the constants of its released code.

Shape letters: N tokens, F frames, T tokens of a text, E model width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from hermes_stream.policies.similarity import cosines

# Objects, counts, actions, changes, layout.
STANDING_QUESTIONS = (
    "Which objects are there?",
    "How many are there of each?",
    "What is happening, and who does it?",
    "What has changed?",
    "Where is everything?",
)

_RATE = 0.2  # how far the running mean moves at once
_CALM, _SHARP = 0.05, 0.3  # spread of the scores below which all frames are read, and above which only the best


def best_cosines(token_NE: torch.Tensor, texts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The largest cosine of each token with any token of any text, float32 `[N]`."""
    return cosines(token_NE, torch.cat(list(texts))).amax(dim=1)


def frame_scores(token_NE: torch.Tensor, lengths: Sequence[int], text_TE: torch.Tensor) -> torch.Tensor:
    """Of each frame: the mean over its tokens of their largest cosine with the text; float32 `[F]`.

    lengths: tokens of each frame, one frame after the other.
    """
    best_N = best_cosines(token_NE, [text_TE])
    return torch.stack([part_N.mean() for part_N in best_N.split(list(lengths))])


def moved(mean: float | None, score: float) -> float:
    """The running mean after one more score; the first score is the mean."""
    return score if mean is None else (1 - _RATE) * mean + _RATE * score


def reads_history(score: float, mean: float | None, gate: float) -> bool:
    """Whether a question reads more than the newest frames: they resemble it less than `gate` times what is usual."""
    return score < gate * moved(mean, score)


def n_read(score_F: torch.Tensor, n_top: int, least: float) -> int:
    """How many frames of the history are read: all if their scores are alike, fewer the more these differ.

    n_top: where they differ much. least: never a smaller share than this.
    """
    n, mean = score_F.numel(), float(score_F.mean())
    if mean <= 0:
        return n
    spread = float(score_F.std(correction=0)) / mean
    sharpness = min(max((spread - _CALM) / (_SHARP - _CALM), 0.0), 1.0)
    wanted = n + sharpness * (min(n_top, n) - n)
    return max(round(wanted), math.ceil(least * n))
