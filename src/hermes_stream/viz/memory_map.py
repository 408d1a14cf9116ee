"""Layers against time: which frames a memory still holds, and how much of each.

Shape letters: L layers, F frames, A bins of age, N tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.memory.held_map import held_map, summarised_tokens
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.version import LayerMemory, MemoryVersion
from hermes_stream.types import Frame
from hermes_stream.viz.figure import new_figure


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment worth a mark above the map. is_right: None draws it neutrally."""

    time_seconds: float
    is_right: bool | None = None


def held_share(version: MemoryVersion) -> NDArray[np.float64]:
    """`[L, F]`: the share of each seen frame's tokens that each layer still holds; summaries apart."""
    held = held_map(version)
    share_LF = np.zeros((len(version.layers), version.grids_seen))
    share_LF[:, held.frame_F] = held.share_LF
    return share_LF


def kept_ages(version: MemoryVersion, n_bins: int = 10) -> NDArray[np.float64]:
    """`[L, n_bins]`: the share of each layer's held vision tokens in each tenth of the stream, newest first.

    Features that wait beside the memory count in every layer, archived tokens as held ones. A window puts all of its
    weight into the first bins, an even sample the same into each.
    """
    share_LA = np.zeros((len(version.layers), n_bins))
    waiting = version.features.table
    waiting_N = waiting.frame_HN[waiting.kind_HN != TokenKind.TEXT].cpu().numpy()
    for index, layer in enumerate(version.layers):
        held_N = layer.table.frame_HN[layer.table.kind_HN == TokenKind.VISION].cpu().numpy()
        frame_N = np.concatenate((held_N, _archived_frames(layer), waiting_N))
        age_N = (version.grids_seen - 1 - frame_N) * n_bins // max(version.grids_seen, 1)
        share_LA[index] = np.bincount(age_N, minlength=n_bins) / max(len(frame_N), 1)
    return share_LA


def _archived_frames(layer: LayerMemory) -> NDArray[np.int64]:
    """Of vision tokens that are archived and not held."""
    if not layer.archive.n_rows:
        return np.empty(0, dtype=np.int64)
    table = layer.archive.table
    is_new_N = (table.kind_HN[0] == TokenKind.VISION) & ~torch.isin(table.identity_HN[0], layer.table.identity_HN[0])
    return table.frame_HN[0, is_new_N].cpu().numpy()


def draw_memory_map(
    version: MemoryVersion,
    path: Path,
    *,
    groups: Mapping[str, range],
    title: str,
    marks: Sequence[Mark] = (),
    compression_seconds: Sequence[float] = (),
    pictures: Sequence[Frame] = (),
) -> None:
    """Write the map of one version as PNG or SVG, by the path's suffix.

    groups: layers by name, drawn as bands. pictures: frames to show above the map at their times.
    compression_seconds: moments at which the policy evicted, small ticks below.
    Raises ConfigError if matplotlib is not installed.
    """
    figure, ((strip,), (axes,)) = new_figure(2, 1, size=(10, 4.8), sharex=True, height_ratios=(1, 7))
    share_LF = held_share(version)
    end = version.time_seconds * (1 + 1 / max(version.grids_seen - 1, 1))
    n_layers = share_LF.shape[0]
    image = axes.imshow(
        share_LF, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest",
        extent=(0, max(end, 1e-3), n_layers, 0),
    )  # fmt: skip
    figure.colorbar(image, ax=[strip, axes], label="share of the frame's tokens held", pad=0.01)
    _draw_groups(axes, groups, summarised_tokens(version))
    _draw_marks(axes, marks)
    _draw_compressions(axes, compression_seconds)
    _draw_pictures(strip, pictures, max(end, 1e-3))
    strip.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw_pictures(strip: Any, pictures: Sequence[Frame], end: float) -> None:
    """Each picture begins at its time and is as wide as the distance to the next allows."""
    strip.set_axis_off()
    if not pictures:
        return
    width = end / len(pictures) * 0.94
    for picture in pictures:
        start = picture.pts_seconds
        strip.imshow(picture.image_YXC, extent=(start, start + width, 0, 1), aspect="auto")
    strip.set(xlim=(0, end), ylim=(0, 1))


def _draw_groups(axes: Any, groups: Mapping[str, range], summarised: Sequence[int]) -> None:
    ticks, labels = [], []
    for name, layers in groups.items():
        if not layers:
            continue
        n_summarised = max(summarised[index] for index in layers)
        axes.axhline(layers.stop, color="white", linewidth=1.5)
        ticks.append((layers.start + layers.stop) / 2)
        labels.append(f"{name}\n{_span(layers)}" + (f"\n+ summary of {n_summarised}" if n_summarised else ""))
    axes.set_yticks(ticks, labels)


def _span(layers: range) -> str:
    last = layers.stop - 1
    return f"layer {last}" if layers.start == last else f"layers {layers.start}–{last}"


def _draw_compressions(axes: Any, seconds: Sequence[float]) -> None:
    axes.set(xlabel="time of the frame (s)" + ("; small ticks: compressions" if seconds else ""))
    axes.set_xticks(seconds, minor=True)
    axes.tick_params(axis="x", which="minor", length=6, color="tab:orange")


def _draw_marks(axes: Any, marks: Sequence[Mark]) -> None:
    colours = {True: "tab:green", False: "tab:red", None: "tab:gray"}
    for mark in marks:
        axes.plot(
            mark.time_seconds, 0, marker="v", markersize=8, color=colours[mark.is_right], clip_on=False, linestyle=""
        )
