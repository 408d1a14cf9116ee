"""The evidence of an answer from its definition: which frames the rows that chose its tokens attended to."""

from __future__ import annotations

from collections.abc import Sequence


def middle_third(n_layers: int) -> list[int]:
    """Layers whose middle lies in the middle third of the depth."""
    return [layer for layer in range(n_layers) if n_layers <= 3 * (layer + 0.5) < 2 * n_layers]


def frame_weights(
    attention: Sequence[Sequence[Sequence[Sequence[float]]]], frame_of_column: Sequence[int | None], rows: Sequence[int]
) -> dict[int, float]:
    """Share of each frame in the weights `[layer][head][row][column]` of some rows; columns without a frame are text.

    attention: of the layers that count.
    """
    masses: dict[int, float] = {}
    for layer in attention:
        for head in layer:
            for row in rows:
                for column, frame in enumerate(frame_of_column):
                    if frame is not None:
                        masses[frame] = masses.get(frame, 0.0) + float(head[row][column])
    total = sum(masses.values())
    return {frame: mass / total for frame, mass in masses.items()}
