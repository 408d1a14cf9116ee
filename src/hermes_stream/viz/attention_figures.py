"""Figures of an inspection: attention over the cache, indices of all layers, heads.

Shape letters: L layers, H query heads, F frames (grids) of the window, P tokens of a grid, N tokens of the window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hermes_stream.inspection.indices import NEWEST
from hermes_stream.inspection.measure import Inspection
from hermes_stream.inspection.report import partitions
from hermes_stream.inspection.window import SHARES
from hermes_stream.viz.figure import new_figure, save_png_and_svg

# More frame borders than this are a grey wall.
_MOST_BORDERS = 40
_MEASURED = {"color": "tab:red", "linewidth": 1.2}
_PAPER = {"color": "tab:cyan", "linewidth": 1.2, "linestyle": (0, (4, 4))}
_SMALL = 8
_BELOW = {"loc": "upper center", "frameon": False, "fontsize": 7, "ncols": 3, "columnspacing": 1.0}
_BELOW_TICKS, _BELOW_LABEL = (0.5, -0.07), (0.5, -0.16)


@dataclass(frozen=True, slots=True)
class _Panel:
    """indices: by name, their labels. neutral: what they are without any structure."""

    title: str
    indices: Mapping[str, str]
    neutral: float


_PANELS = (
    _Panel("recency: share of newest 10 %", {"newest_share": ""}, NEWEST),
    _Panel("recency: slope of log attention", {"log_slope": ""}, 0.0),
    _Panel("entropy / log N", {"entropy": ""}, 1.0),
    _Panel(
        "anchors: correlation one frame later",
        {"autocorrelation": "plain", "periodicity": "periodicity", "periodicity_beyond_raster": "beyond raster"},
        0.0,
    ),
    _Panel("anchors: weight over mean", {"peak_ratio": "frame's peak", "raster_ratio": "raster position"}, 1.0),
)


def draw_attention(inspection: Inspection, layers: Sequence[int], path: Path) -> tuple[Path, Path]:
    """Mean attention of the questions to each token of the window, log scale, one panel a layer: the paper's figure.

    The newest token is at the right. Dots mark the raster position at which most frames have their peak.
    """
    figure, axes = new_figure(1, len(layers), size=(1.2 + 3.6 * len(layers), 3.2), sharey=True)
    n_frames, n_cells = inspection.curve_LFP.shape[1:]
    distance_N = np.arange(n_frames * n_cells)[::-1]
    for place, layer in zip(axes.flat, layers, strict=True):
        weight_N = inspection.curve_LFP[layer].reshape(-1)
        if n_frames <= _MOST_BORDERS:
            for border in range(n_frames + 1):
                place.axvline(border * n_cells - 0.5, color="0.92", linewidth=0.7, zorder=0)
        place.semilogy(distance_N, weight_N, color="tab:blue", linewidth=0.9)
        cell = int(inspection.peak_LP[layer].argmax())
        row, column = divmod(cell, inspection.grid[1])
        label = f"row {row}, column {column}: peak of {inspection.peak_LP[layer, cell]:.0%} of frames"
        dots = distance_N[cell::n_cells], weight_N[cell::n_cells]
        place.semilogy(*dots, ".", color="tab:orange", markersize=4, label=label)
        place.set(title=f"layer {layer}", xlabel=f"tokens before the newest ({n_cells} a frame)")
        place.set_xlim(distance_N[0] + 1, -1)
        place.legend(**_BELOW, bbox_to_anchor=_BELOW_LABEL)
    axes[0, 0].set_ylabel("attention")
    return save_png_and_svg(figure, path)


def draw_layers(inspection: Inspection, path: Path) -> tuple[Path, Path]:
    """All layers: attention over the window as a heat map, and each index beside it.

    Bands are standard errors over clips. Lines: the measured partition (red) and the paper's (dashed blue); grey: the
    value without any structure.
    """
    size = 12, 4.2 + 0.22 * inspection.n_layers
    figure, axes = new_figure(2, 4, size=size, width_ratios=(1.6, 1, 1, 1), sharey=True)
    heat, *panels, last, shares = axes.flat
    _draw_heat(figure, heat, inspection)
    for place, panel in zip(panels, _PANELS, strict=True):
        place.axvline(panel.neutral, color="0.8", linewidth=0.8)
        for name, label in panel.indices.items():
            _draw_index(place, inspection, name, label)
        place.set_title(panel.title, fontsize=_SMALL)
        if len(panel.indices) > 1:
            place.legend(**_BELOW, bbox_to_anchor=_BELOW_TICKS)
    _draw_same_raster(last, inspection)
    _draw_shares(shares, inspection)
    measured, paper = partitions(inspection)
    for place in axes.flat:
        place.tick_params(labelsize=7)
        for borders, style in ((measured, _MEASURED), (paper, _PAPER)):
            for border in borders:
                place.axhline(border - 0.5, **style)
    heat.set_ylim(inspection.n_layers - 0.5, -0.5)
    for place in axes[:, 0]:
        place.set_ylabel("layer")
    return save_png_and_svg(figure, path)


def draw_heads(inspection: Inspection, path: Path) -> tuple[Path, Path]:
    """Layers × query heads: the indices that the partition is measured by, for each head's own curve."""
    indices = inspection.head_LH
    height = 1.2 + 0.2 * inspection.n_layers
    figure, axes = new_figure(1, len(indices), size=(3.6 * len(indices), height), sharey=True)
    for place, (name, index_LH) in zip(axes.flat, indices.items(), strict=True):
        image = place.imshow(index_LH, aspect="auto", cmap="viridis", interpolation="nearest")
        figure.colorbar(image, ax=place, pad=0.02)
        place.set_title(name.replace("_", " "), fontsize=9)
        place.set_xlabel("query head")
    axes[0, 0].set_ylabel("layer")
    return save_png_and_svg(figure, path)


def _draw_heat(figure: Any, place: Any, inspection: Inspection) -> None:
    """Attention over its layer's mean, so that layers can be compared."""
    from matplotlib.colors import LogNorm

    weight_LN = inspection.curve_LFP.reshape(inspection.n_layers, -1)
    relative_LN = weight_LN / weight_LN.mean(axis=1, keepdims=True)
    low, high = np.quantile(relative_LN, (0.01, 0.999))
    image = place.imshow(
        relative_LN, aspect="auto", cmap="magma", interpolation="nearest", norm=LogNorm(max(low, 1e-6), high),
        extent=(weight_LN.shape[1] - 0.5, -0.5, inspection.n_layers - 0.5, -0.5),
    )  # fmt: skip
    figure.colorbar(image, ax=place, pad=0.01, label="attention / layer's mean")
    place.set_xlabel(f"tokens before the newest ({inspection.curve_LFP.shape[2]} a frame)", fontsize=_SMALL)
    place.set_title("attention over the window", fontsize=_SMALL)


def _draw_index(place: Any, inspection: Inspection, name: str, label: str) -> None:
    layer_L, index_L = np.arange(inspection.n_layers), inspection.index_L[name]
    (line,) = place.plot(index_L, layer_L, "o-", markersize=3, linewidth=1, label=label)
    if name in inspection.error_L:
        error_L = inspection.error_L[name]
        place.fill_betweenx(layer_L, index_L - error_L, index_L + error_L, color=line.get_color(), alpha=0.25, lw=0)


def _draw_same_raster(place: Any, inspection: Inspection) -> None:
    place.axvline(1 / inspection.peak_LP.shape[1], color="0.8", linewidth=0.8)
    place.plot(inspection.peak_LP.max(axis=1), np.arange(inspection.n_layers), "o-", markersize=3, linewidth=1)
    place.set_title("frames with their peak at one raster position", fontsize=_SMALL)


def _draw_shares(place: Any, inspection: Inspection) -> None:
    """Where all of the attention goes, stacked to 1."""
    start_L = np.zeros(inspection.n_layers)
    for name, share_L in zip(SHARES, inspection.share_LG.T, strict=True):
        if share_L.any():
            place.barh(np.arange(inspection.n_layers), share_L, left=start_L, height=0.8, label=name)
        start_L = start_L + share_L
    place.set_title("where attention goes", fontsize=_SMALL)
    place.set_xlim(0, 1)
    place.legend(**{**_BELOW, "ncols": len(SHARES)}, bbox_to_anchor=_BELOW_TICKS)
