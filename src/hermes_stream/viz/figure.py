"""Figures without a display and without global state."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hermes_stream.errors import ConfigError


def require_matplotlib() -> None:
    """Raise ConfigError if matplotlib is not installed; much faster than importing it."""
    if find_spec("matplotlib") is None:
        raise ConfigError("drawing needs matplotlib; install it with pip install 'hermes-stream[plot]'")


def new_figure(n_rows: int, n_columns: int, *, size: tuple[float, float], **grid: Any) -> tuple[Any, Any]:
    """A figure of `size` inches and its axes `[n_rows, n_columns]`; `grid` as for matplotlib's `subplots`.

    Raises ConfigError if matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False, **grid)


def save_png_and_svg(figure: Any, path: Path) -> tuple[Path, Path]:
    """Write a figure to `path` with both endings and return the two paths; no date, no random names."""
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    figure.savefig(png, dpi=110)
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(svg, metadata={"Date": None})
    return png, svg
