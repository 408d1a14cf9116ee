"""Figures of speed: time to first token and memory over the length of a stream.

Rows are those of `hermes-stream bench --json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hermes_stream.viz.figure import new_figure

Row = Mapping[str, Any]

_SIZE = 10.0, 3.6
_SMALL = 8
# A line or more of panel height for each of many policies.
_MOST_PER_COLUMN = 16


def draw_latency(rows: Sequence[Row], path: Path) -> None:
    """Median time to first token and peak bytes over frames, a line for each policy and chunk.

    Frames in octaves, the rest from 0: what is flat looks flat. Raises ConfigError without matplotlib.
    """
    figure, axes = new_figure(1, 2, size=_SIZE)
    left, right = axes[0]
    for policy, chunk in dict.fromkeys((row["policy"], row["chunk"]) for row in rows):
        same = sorted((r for r in rows if (r["policy"], r["chunk"]) == (policy, chunk)), key=lambda row: row["frames"])
        frames, label = [row["frames"] for row in same], f"{policy}, chunk {chunk}"
        style = {"marker": "o", "markersize": 3, "linewidth": 1.2}
        left.plot(frames, [row["ttft_ms_p50"] for row in same], label=label, **style)
        right.plot(frames, [row["peak_bytes"] / 2**20 for row in same], label=label, **style)
    left.set_ylabel("time to first token, ms (median)", fontsize=_SMALL)
    right.set_ylabel("most bytes of the memory, MiB", fontsize=_SMALL)
    for place in (left, right):
        place.set_xlabel("frames watched", fontsize=_SMALL)
        place.set_xscale("log", base=2)
        place.set_ylim(bottom=0)
        place.xaxis.set_major_formatter("{x:g}")
        place.tick_params(labelsize=_SMALL)
    handles, labels = left.get_legend_handles_labels()
    n_columns = -(-len(labels) // _MOST_PER_COLUMN)
    figure.legend(handles, labels, loc="outside right upper", fontsize=_SMALL, frameon=False, ncols=max(n_columns, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def draw_peers(rows: Sequence[Row], path: Path) -> None:
    """Median time to first token of each way to answer, logarithmic. Raises ConfigError without matplotlib."""
    figure, axes = new_figure(1, 1, size=(7.0, 0.6 + 0.45 * len(rows)))
    place = axes[0][0]
    bars = place.barh([row["name"] for row in rows][::-1], [row["ttft_ms_p50"] for row in rows][::-1])
    place.bar_label(bars, fmt="{:.3g}", fontsize=_SMALL, padding=2)
    place.set_xscale("log")
    place.margins(x=0.15)
    place.set_xlabel("time to first token, ms (median)", fontsize=_SMALL)
    place.tick_params(labelsize=_SMALL)
    figure.savefig(path, dpi=130)


def draw_floor(rows: Sequence[Row], path: Path) -> None:
    """What each figure's floor is made of, and where it was measured. Raises ConfigError without matplotlib."""
    figure, axes = new_figure(1, 1, size=(8.0, 0.9 + 0.45 * len(rows)))
    place = axes[0][0]
    names = [f"{row['figure']}\n{row['source']}" for row in rows][::-1]
    left = [0.0] * len(rows)
    for part, label in (("weights_ms", "weights"), ("kv_ms", "keys and values"), ("arithmetic_ms", "arithmetic")):
        sizes = [row[part] for row in rows][::-1]
        place.barh(range(len(rows)), sizes, left=left, label=label)
        left = [at + size for at, size in zip(left, sizes, strict=True)]
    measured = [(index, row["measured_ms"]) for index, row in enumerate(rows[::-1]) if row["measured_ms"] is not None]
    place.plot([ms for _, ms in measured], [index for index, _ in measured], "k|", markersize=12, label="measured")
    place.set_yticks(range(len(rows)), names)
    place.set_xscale("symlog", linthresh=max(min(left), 1e-3))
    place.set_xlabel("ms", fontsize=_SMALL)
    place.tick_params(labelsize=_SMALL)
    figure.legend(loc="outside right upper", fontsize=_SMALL, frameon=False)
    figure.savefig(path, dpi=130)
