"""Front-ends from their definitions: one token, one cell, one comparison at a time."""

from __future__ import annotations

import math

Vector = list[float]
Cell = tuple[int, int]
Seen = dict[Cell, Vector]


def cosine(a: Vector, b: Vector) -> float:
    if a == b:
        return 1.0
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def dtd(
    grids: list[Seen], *, drop: float | None = None, threshold: float | None = None, against: str = "previous"
) -> list[list[Cell]]:
    """Cells that are left of each grid."""
    left, seen = [], {}
    for number, grid in enumerate(grids):
        kept = list(grid)
        if number > 0:
            change = {cell: cosine(grid[cell], seen[cell]) if cell in seen else -math.inf for cell in grid}
            likest = sorted(grid, key=lambda cell: -change[cell])
            if threshold is None:
                gone = likest[: math.floor((drop or 0) * len(grid) + 1e-6)]
            else:
                gone = [cell for cell in likest if change[cell] > threshold]
            least = min(grid, key=lambda cell: change[cell])
            kept = [c for c in grid if c not in gone or change[c] == -math.inf or c == least]
        left.append(kept)
        seen = dict(grid) if against == "previous" else {**seen, **{cell: grid[cell] for cell in kept}}
    return left


def ctr(grid: Seen, before: Seen | None, saliency: dict[Cell, float], n_left: int) -> list[tuple[Cell, Vector]]:
    """Cells that are left of a grid, and what stands there."""
    static = [c for c in grid if before is not None and c in before and cosine(grid[c], before[c]) > 0.9]
    dynamic = [cell for cell in grid if cell not in static]
    n_static = n_left * len(static) // len(grid)
    salient = sorted(dynamic, key=lambda cell: -saliency[cell])[: n_left - n_static]
    made = {cell: grid[cell] for cell in salient} | _clusters({cell: grid[cell] for cell in static}, n_static)
    return [(cell, made[cell]) for cell in grid if cell in made]


def _clusters(tokens: Seen, n_clusters: int) -> Seen:
    cells = list(tokens)
    width = len(next(iter(tokens.values()), [0.0]))

    def distance(a: Cell, b: Cell) -> float:
        return math.dist(tokens[a], tokens[b]) / math.sqrt(width)

    density = {}
    for cell in cells:
        nearest = sorted(distance(cell, other) for other in cells if other != cell)[:7]
        density[cell] = math.exp(-sum(d * d for d in nearest) / len(nearest)) if nearest else 1.0
    peak = {}
    for index, cell in enumerate(cells):
        denser = [c for i, c in enumerate(cells) if (density[c], -i) > (density[cell], -index)]
        apart = min((distance(cell, other) for other in denser), default=None)
        peak[cell] = density[cell] * (max(distance(cell, other) for other in cells) if apart is None else apart)
    centres = sorted(cells, key=lambda cell: -peak[cell])[:n_clusters]
    members: dict[Cell, list[Cell]] = {centre: [] for centre in centres}
    for cell in cells:
        if cell not in centres and centres:
            members[min(centres, key=lambda centre: distance(cell, centre))].append(cell)
    made = {}
    for centre, others in members.items():
        mean = [sum(tokens[c][i] for c in others) / len(others) for i in range(width)] if others else tokens[centre]
        own = 0.6 if others else 1.0
        made[centre] = [own * a + (1 - own) * b for a, b in zip(tokens[centre], mean, strict=True)]
    return made
