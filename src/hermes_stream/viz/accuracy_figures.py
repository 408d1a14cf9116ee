"""Figures of an evaluation: accuracy against budget, bytes and tokens held, and against the age of what is asked about.

Rows are those of `hermes-stream eval --json`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hermes_stream.viz.figure import new_figure

Row = Mapping[str, Any]

_PANEL = 3.6, 3.0
_SMALL = 8
_BOUND = {"linestyle": "--", "linewidth": 1.2}
# Past this many lines the colours of matplotlib's cycle come round again.
_N_COLOURS = 10
# Labels that fit beside a panel's height, and what another column of them takes, in inches.
_LABELS_A_PANEL, _LABEL_WIDTH = 15, 2.2
_LINE_STYLES = "-", "--", ":", "-."


def draw_by_budget(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against tokens per layer; a memory without bounds is a level. Raises ConfigError without matplotlib."""
    figure, axes = _by_regime(rows, lambda row: row["budget_tokens"], "budget, tokens per layer")
    for place in axes.flat:
        _set_octaves(place)
    _save(figure, axes, path)


def draw_by_bytes(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against the most bytes that any question found, archives included."""
    label = "memory and archive, KiB over all layers"
    figure, axes = _by_regime(rows, lambda row: (row["bytes"] + row["archive_bytes"]) / 1024, label)
    for place in axes.flat:
        _set_octaves(place)
    _save(figure, axes, path)


def draw_by_share(rows: Sequence[Row], path: Path, headline_share: float) -> None:
    """Accuracy against tokens held over the tokens of 64 uniformly sampled frames, HERMES' headline marked."""
    figure, axes = _by_regime(rows, lambda row: 100 * row["share_of_64_frames"], "held, % of 64 frames' tokens")
    for place in axes.flat:
        place.axvline(100 * headline_share, color="tab:gray", linewidth=1, zorder=0)
        place.annotate(
            f"{headline_share:.0%}", (100 * headline_share, 0.02), xycoords=("data", "axes fraction"), fontsize=_SMALL
        )
    _save(figure, axes, path)


def draw_forgetting(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against seconds since the evidence left the screen, a panel for each budget; without bounds in each."""
    budgets = {
        model: _in_order(row["budget"] for row in rows if row["model"] == model and row["budget"] is not None) or [None]
        for model in _in_order(row["model"] for row in rows)
    }
    figure, axes = _panels(len(budgets), max(map(len, budgets.values())))
    styles = _styles(rows)
    for (model, given), line in zip(budgets.items(), axes, strict=True):
        for place in line[len(given) :]:
            place.set_axis_off()
        for budget, place in zip(given, line, strict=False):
            for row in rows:
                if row["model"] == model and row["budget"] in (budget, None):
                    bins = [cell for cell in row["recall_delay"].values() if cell["to_s"] > 0]
                    middle = [math.sqrt(max(cell["from_s"], 0.5) * cell["to_s"]) for cell in bins]
                    _plot(place, middle, bins, row["policy"], styles)
            place.set_title(model if budget is None else f"{model}, budget {budget}", fontsize=_SMALL)
            place.set_xlabel("seconds since the evidence left the screen", fontsize=_SMALL)
            _set_octaves(place)
    _save(figure, axes, path)


def _by_regime(rows: Sequence[Row], abscissa: Callable[[Row], float | None], label: str) -> tuple[Any, Any]:
    """A row of panels for each model, a panel for each regime."""
    models = _in_order(row["model"] for row in rows)
    regimes = _in_order(regime for row in rows for regime in row["regime"])
    figure, axes = _panels(len(models), len(regimes))
    styles = _styles(rows)
    for model, line in zip(models, axes, strict=True):
        of_model = [row for row in rows if row["model"] == model]
        for regime, place in zip(regimes, line, strict=True):
            for policy in _in_order(row["policy"] for row in of_model):
                mine = [row for row in of_model if row["policy"] == policy]
                points = sorted(
                    ((at, row["regime"][regime]) for row in mine if (at := abscissa(row)) is not None),
                    key=lambda point: point[0],
                )
                if points:
                    _plot(place, [at for at, _ in points], [cell for _, cell in points], policy, styles)
                else:
                    level = 100 * mine[0]["regime"][regime]["accuracy"]
                    place.axhline(level, label=policy, color=styles[policy][0], **_BOUND)
            place.set_title(f"{model}, {regime}", fontsize=_SMALL)
            place.set_xlabel(label, fontsize=_SMALL)
    return figure, axes


def _plot(
    place: Any, abscissae: Sequence[float], cells: Sequence[Row], policy: str, styles: Mapping[str, tuple[str, str]]
) -> None:
    """Per cent right and the 95 % intervals."""
    colour, style = styles[policy]
    right = [100 * cell["accuracy"] for cell in cells]
    place.plot(abscissae, right, marker="o", markersize=3, linewidth=1.2, linestyle=style, color=colour, label=policy)
    if all(cell["low"] is not None for cell in cells):
        bounds = [[100 * cell[bound] for cell in cells] for bound in ("low", "high")]
        place.vlines(abscissae, *bounds, color=colour, linewidth=0.8, alpha=0.5)


def _panels(n_rows: int, n_columns: int) -> tuple[Any, Any]:
    width, height = _PANEL
    return new_figure(n_rows, n_columns, size=(width * n_columns + 2.4, height * n_rows), sharey="row")


def _styles(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Colour and line of each policy, the same in all panels."""
    policies = _in_order(row["policy"] for row in rows)
    return {
        policy: (f"C{index % _N_COLOURS}", _LINE_STYLES[index // _N_COLOURS % len(_LINE_STYLES)])
        for index, policy in enumerate(policies)
    }


def _in_order(names: Any) -> list[Any]:
    """Each once, as they first come."""
    return list(dict.fromkeys(names))


def _set_octaves(place: Any) -> None:
    place.set_xscale("log", base=2)
    place.xaxis.set_major_formatter("{x:g}")


def _save(figure: Any, axes: Any, path: Path) -> None:
    for line in axes:
        line[0].set_ylabel("right, %", fontsize=_SMALL)
    labels: dict[str, Any] = {}
    for place in axes.flat:
        place.tick_params(labelsize=_SMALL)
        handles, names = place.get_legend_handles_labels()
        labels = dict(zip(names, handles, strict=True)) | labels
    n_columns = math.ceil(len(labels) / (len(axes) * _LABELS_A_PANEL))
    figure.set_figwidth(figure.get_figwidth() + (n_columns - 1) * _LABEL_WIDTH)
    figure.legend(
        labels.values(), labels.keys(), loc="outside right upper", fontsize=_SMALL, frameon=False, ncols=n_columns
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
