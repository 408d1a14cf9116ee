"""An inspection as JSON: what figures, tables and `--layers` read. The same inspection gives the same text.

Shape letters: L layers, H query heads, F frames (grids) of the window, P tokens of a grid, N tokens of the window.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from hermes_stream.inspection.indices import Floats
from hermes_stream.inspection.measure import MEMORY, Inspection
from hermes_stream.inspection.partition import agreement, explained, measured_borders
from hermes_stream.inspection.window import SHARES

# Longer curves are stored as means over neighbouring tokens.
_MOST_POINTS = 4096
_PAPER_SHALLOW, _PAPER_DEEP = 0.1, 0.7
# The layers that the paper's figure shows, of its model's 28.
_PAPER_LAYERS, _PAPER_LAST = (0, 8, 26), 27


def report(inspection: Inspection, *, model: str, command: str) -> dict[str, Any]:
    """Everything that was found, ready for `to_json`.

    acceptance: whether what the paper states holds from the first to the last layer, for the mean over clips and for
        the mean curve, which is what the paper draws.
    """
    measured, paper = partitions(inspection)
    feature_SLC = inspection.feature_SLC
    distance_N, curve_LN, n_averaged = _thinned(inspection.curve_LFP)
    return {
        "command": command,
        "versions": {name: version(name) for name in ("hermes-stream", "torch", "transformers", "numpy")},
        "model": {"name": model, "n_layers": inspection.n_layers, "n_heads": _n_heads(inspection)},
        "memory": MEMORY,
        "budget_tokens": inspection.budget_tokens,
        "chunk_frames": inspection.chunk_frames,
        "fps": inspection.fps,
        "grid": list(inspection.grid),
        "window_frames": inspection.curve_LFP.shape[1],
        "sources": [asdict(watched) for watched in inspection.watched],
        "n_questions": sum(len(watched.questions) for watched in inspection.watched),
        "layers": [_layer(inspection, layer) for layer in range(inspection.n_layers)],
        "heads": {name: _rounded(index_LH) for name, index_LH in inspection.head_LH.items()},
        "partition": {
            "measured": list(measured),
            "measured_explains": _rounded(explained(feature_SLC.mean(axis=0), measured)),
            "measured_agreement": _rounded(agreement(feature_SLC)) if len(feature_SLC) > 1 else None,
            "paper": list(paper),
            "paper_explains": _rounded(explained(feature_SLC.mean(axis=0), paper)),
        },
        "acceptance": {
            "per_clip": _acceptance(inspection.index_L),
            "mean_curve": _acceptance(inspection.curve_index_L),
        },
        "curves": {
            "tokens_per_point": n_averaged,
            "distance_to_newest": distance_N,
            "attention": _rounded(curve_LN),
        },
    }


def to_json(content: dict[str, Any]) -> str:
    """One line per layer, so that it can be read."""
    lines = [f"{json.dumps(key)}: {_value_json(value)}" for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def partitions(inspection: Inspection) -> tuple[tuple[int, int], tuple[int, int]]:
    """First middle and first deep layer: measured, and by the paper's 10/60/30."""
    n_layers = inspection.n_layers
    measured = measured_borders(inspection.feature_SLC.mean(axis=0))
    return measured, (int(_PAPER_SHALLOW * n_layers), int(_PAPER_DEEP * n_layers))


def paper_layers(n_layers: int) -> tuple[int, ...]:
    """The three layers of the paper's figure (0, 8, 26 of 28), scaled to a model's depth."""
    return tuple(sorted({round(layer / _PAPER_LAST * (n_layers - 1)) for layer in _PAPER_LAYERS}))


def _layer(inspection: Inspection, layer: int) -> dict[str, Any]:
    cell = int(inspection.peak_LP[layer].argmax())
    return {
        "layer": layer,
        **{name: _rounded(index_L[layer]) for name, index_L in inspection.index_L.items()},
        "same_raster_share": _rounded(inspection.peak_LP[layer, cell]),
        "same_raster_cell": list(divmod(cell, inspection.grid[1])),
        "standard_error": {name: _rounded(error_L[layer]) for name, error_L in inspection.error_L.items()},
        "of_mean_curve": {name: _rounded(index_L[layer]) for name, index_L in inspection.curve_index_L.items()},
        "attention_to": dict(zip(SHARES, _rounded(inspection.share_LG[layer]), strict=True)),
        "mean_by_raster": _rounded(inspection.curve_LFP[layer].mean(axis=0)),
    }


def _acceptance(index_L: dict[str, Floats]) -> dict[str, bool]:
    share_L, correlation_L = index_L["newest_share"], index_L["autocorrelation"]
    return {
        "newest_share_falls": bool(share_L[-1] < share_L[0]),
        "autocorrelation_rises": bool(correlation_L[-1] > correlation_L[0]),
        "periodicity_rises": bool(index_L["periodicity"][-1] > index_L["periodicity"][0]),
    }


def _thinned(curve_LFP: Floats) -> tuple[list[float], Floats, int]:
    """Distance to the newest token, and the curve at it, newest first; means over equally many tokens if it is long.

    What does not fill a mean, at the oldest end, is left out.
    """
    newest_LN = curve_LFP.reshape(len(curve_LFP), -1)[:, ::-1]
    n_averaged = -(-newest_LN.shape[1] // _MOST_POINTS)
    n_points = newest_LN.shape[1] // n_averaged
    curve_LN = newest_LN[:, : n_points * n_averaged].reshape(len(newest_LN), n_points, n_averaged).mean(axis=2)
    return [index * n_averaged + (n_averaged - 1) / 2 for index in range(n_points)], curve_LN, n_averaged


def _n_heads(inspection: Inspection) -> int:
    return int(next(iter(inspection.head_LH.values())).shape[1])


def _rounded(value: Any) -> Any:
    """Six significant digits: what float32 weights can carry, and what rounding of sums cannot change."""
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}")
    return [_rounded(item) for item in value]


def _value_json(value: Any) -> str:
    if isinstance(value, dict):
        lines = [f"  {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join("  " + json.dumps(item, ensure_ascii=False) for item in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def table(content: dict[str, Any]) -> Sequence[Sequence[str]]:
    """The indices of all layers as rows of text, header first."""
    first_middle, first_deep = content["partition"]["measured"]
    header = ["layer", "measured", *_COLUMNS.values()]
    rows = []
    for row in content["layers"]:
        layer = row["layer"]
        group = "shallow" if layer < first_middle else "middle" if layer < first_deep else "deep"
        rows.append([str(layer), group, *(f"{row[name]:.3f}" for name in _COLUMNS)])
    return [header, *rows]


_COLUMNS = {
    "newest_share": "newest 10 %",
    "log_slope": "slope",
    "autocorrelation": "lag-P corr.",
    "periodicity": "periodicity",
    "periodicity_beyond_raster": "beyond raster",
    "raster_ratio": "raster ratio",
    "same_raster_share": "same raster",
    "peak_ratio": "peak ratio",
    "entropy": "entropy",
}
