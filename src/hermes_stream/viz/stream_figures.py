"""Figures of many streams: throughput and time to first token over their number.

Rows are those of `hermes-stream bench streams --json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hermes_stream.viz.figure import new_figure

_SIZE = 8.0, 3.2
_SMALL = 8
_STYLE = {"marker": "o", "markersize": 3, "linewidth": 1.2}


def draw_streams(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Frames per second together and one after another, and p95 of the time to first token of live streams.

    Raises ConfigError without matplotlib.
    """
    figure, axes = new_figure(1, 2, size=_SIZE)
    left, right = axes[0]
    sessions = [row["sessions"] for row in rows]
    left.plot(sessions, [row["frames_per_second"] for row in rows], label="sharing forwards", **_STYLE)
    left.plot(sessions, [row["alone_frames_per_second"] for row in rows], label="one after another", **_STYLE)
    left.set_ylabel("frames per second, all streams", fontsize=_SMALL)
    left.set_ylim(bottom=0)
    left.legend(fontsize=_SMALL, frameon=False)
    right.plot(sessions, [row["ttft_ms_p95"] for row in rows], **_STYLE)
    for row in rows:
        if row["dropped"]:
            right.annotate(f"{row['dropped']} dropped", (row["sessions"], row["ttft_ms_p95"]), fontsize=_SMALL)
    right.set_ylabel("time to first token, live, ms (p95)", fontsize=_SMALL)
    right.set_ylim(bottom=0)
    for place in (left, right):
        place.set_xlabel("streams", fontsize=_SMALL)
        place.set_xscale("log", base=2)
        place.xaxis.set_major_formatter("{x:g}")
        place.tick_params(labelsize=_SMALL)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
