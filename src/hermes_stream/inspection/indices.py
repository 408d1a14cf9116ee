"""What one curve of attention over a window of frames says, as pure functions.

A window is `[..., F, P]`: F frames (grids), oldest first, of P tokens each in raster order, so that its last two axes
read in order are the cache order and lag P is the same raster position one frame on. Leading axes are layers or heads.
Weights are positive and need not add up to 1. Logarithms are natural; a weight that underflowed to 0 counts as the
smallest normal float32.

What the anchor indices can and cannot tell apart (`tests/inspection/test_indices.py` plants each case):

| in every frame ... | periodicity | beyond raster | peak ratio | share of one raster position |
|---|---|---|---|---|
| one strong token at a fixed raster position | high | about -1/F | high | 1 |
| one strong token that stays for a few frames, then moves | high | high | high | low |
| one strong token at a new place in each frame | about 0 | about -1/F | high | about 1/P |
| no strong token, smooth recency of any shape | about 0 | about 0 | about 1 | – |

So lag-P periodicity sees anchors only as far as they stand still; "one anchor token per frame" by itself is the peak
ratio, and it leaves no period.

Shape letters: F frames of the window, P tokens of a frame, N = F * P tokens, L layers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEWEST = 0.1  # HERMES' "newest 10 %"
_LEAST_WEIGHT = float(np.finfo(np.float32).tiny)
# Weights are float32: the variance of their logarithms means nothing below this.
_LEAST_VARIANCE = 1e-12


def newest_share(weight_FP: Floats) -> Floats:
    """Recency: the share of the window's mass in its newest 10 %; 0.1 for uniform weights.

    Where a tenth of the tokens is no whole number, the token at the border counts in part.
    """
    newest_first = _in_order(weight_FP)[..., ::-1]
    n_newest = NEWEST * newest_first.shape[-1]
    counted = np.clip(n_newest - np.arange(newest_first.shape[-1]), 0.0, 1.0)
    share: Floats = (newest_first * counted).sum(axis=-1) / newest_first.sum(axis=-1)
    return share


def log_slope(weight_FP: Floats) -> Floats:
    """Recency: the least-squares slope of log attention against age, with the window's length as the unit of age.

    -3 means that a token at the window's beginning gets e^-3 of what the newest gets; 0 is no recency.
    """
    log_N = _logarithm(weight_FP)
    n = log_N.shape[-1]
    age_N = (n - 1 - np.arange(n)) / n
    centred_N = age_N - age_N.mean()
    slope: Floats = (log_N * centred_N).sum(axis=-1) / (centred_N**2).sum()
    return slope


def autocorrelation(weight_FP: Floats) -> Floats:
    """Autocorrelation of log attention at lag P, the trend included.

    The number that HERMES' figure suggests. A steady decay alone brings it near 1: compare `periodicity`.
    """
    correlation: Floats = _correlogram(_logarithm(weight_FP))[..., weight_FP.shape[-1]]
    return correlation


def periodicity(weight_FP: Floats) -> Floats:
    """Anchors: by how much the autocorrelation peaks at lag P, once the trend is out (see `detrended`).

    The value at lag P less the mean over the P lags around it: a period of P keeps its full value of 1, for the lags of
    one period cancel; what is smooth gives 0, for its neighbouring lags are alike.
    """
    return _peak_at(detrended(weight_FP), weight_FP.shape[-1])


def periodicity_beyond_raster(weight_FP: Floats) -> Floats:
    """The control: periodicity after the mean of each raster position is taken out as well.

    What a fixed raster position explains is gone then; what is left comes from patterns that stay for some frames and
    go, and in part from a raster pattern that is stronger in one half of the window. Without any, taking out means of F
    values leaves about -1/F, not 0.
    """
    remainder = detrended(weight_FP)
    n_cells = weight_FP.shape[-1]
    for cell in range(n_cells):
        same = remainder[..., cell::n_cells]
        same -= same.mean(axis=-1, keepdims=True)
    return _peak_at(remainder, n_cells)


def raster_ratio(weight_FP: Floats) -> Floats:
    """Anchors at a fixed place: mean weight of the strongest raster position over the mean of all."""
    by_cell_P = weight_FP.mean(axis=-2)
    ratio: Floats = by_cell_P.max(axis=-1) / by_cell_P.mean(axis=-1)
    return ratio


def peak_ratio(weight_FP: Floats) -> Floats:
    """Anchors anywhere: a frame's largest weight over its mean, averaged over frames; 1 to P."""
    ratio: Floats = (weight_FP.max(axis=-1) / np.maximum(weight_FP.mean(axis=-1), _LEAST_WEIGHT)).mean(axis=-1)
    return ratio


def entropy(weight_FP: Floats) -> Floats:
    """Of the window's weights as shares, over that of uniform weights (log N): 0 one token, 1 all alike."""
    weight_N = _in_order(weight_FP)
    share_N = np.maximum(weight_N / weight_N.sum(axis=-1, keepdims=True), _LEAST_WEIGHT)
    normalised: Floats = -(share_N * np.log(share_N)).sum(axis=-1) / np.log(weight_N.shape[-1])
    return normalised


def frame_peaks(weight_FP: Floats) -> NDArray[np.int64]:
    """`[..., F]`: the raster position of each frame's largest weight; the first of several."""
    peak_F: NDArray[np.int64] = weight_FP.argmax(axis=-1)
    return peak_F


def detrended(weight_FP: Floats) -> Floats:
    """Log attention less its moving average over one frame, `[..., N - 2 * (P // 2)]`, from token P // 2 on.

    Classical seasonal decomposition: the average is centred, and for an even P its two outermost tokens count half. A
    linear trend vanishes exactly, a period of P stays whole.
    """
    n_cells = weight_FP.shape[-1]
    log_N = _logarithm(weight_FP)
    half = n_cells // 2
    if half == 0:
        return np.zeros_like(log_N)
    kernel = np.ones(2 * half + 1)
    kernel[[0, -1]] = 0.5 if n_cells % 2 == 0 else 1.0
    kernel /= kernel.sum()
    windows = np.lib.stride_tricks.sliding_window_view(log_N, kernel.size, axis=-1)
    remainder: Floats = log_N[..., half : log_N.shape[-1] - half] - windows @ kernel
    return remainder


INDICES: dict[str, Callable[[Floats], Floats]] = {
    index.__name__: index
    for index in (
        newest_share,
        log_slope,
        autocorrelation,
        periodicity,
        periodicity_beyond_raster,
        raster_ratio,
        peak_ratio,
        entropy,
    )
}
# One of recency, one of anchors, one of spread: what layers are told apart by.
FEATURES = ("newest_share", "periodicity", "entropy")


def _in_order(weight_FP: Floats) -> Floats:
    """`[..., N]`: cache order, oldest first."""
    return weight_FP.reshape(*weight_FP.shape[:-2], -1)


def _logarithm(weight_FP: Floats) -> Floats:
    logarithm: Floats = np.log(np.maximum(_in_order(weight_FP), _LEAST_WEIGHT))
    return logarithm


def _peak_at(value_N: Floats, lag: int) -> Floats:
    """The correlogram at a lag, less its mean over as many lags around it."""
    correlogram = _correlogram(value_N)
    first = lag - lag // 2
    peak: Floats = correlogram[..., lag] - correlogram[..., first : first + lag].mean(axis=-1)
    return peak


def _correlogram(value_N: Floats) -> Floats:
    """`[..., N]`: at each lag the mean product of centred values that far apart, over their variance.

    0 at all lags where the values do not vary.
    """
    n = value_N.shape[-1]
    centred = value_N - value_N.mean(axis=-1, keepdims=True)
    # Padded to twice the length, so that the ends do not meet.
    spectrum = np.fft.rfft(centred, 2 * n, axis=-1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=-1)[..., :n] / (n - np.arange(n))
    variance = products[..., :1]
    varies = variance > _LEAST_VARIANCE
    correlogram: Floats = np.where(varies, products / np.where(varies, variance, 1.0), 0.0)
    return correlogram
