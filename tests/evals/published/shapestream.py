"""ShapeStream has no files."""

from __future__ import annotations

from pathlib import Path

from tests.evals.published import PutVideo

DAMAGE = None
ARGUMENTS = {"seeds": range(900_000, 900_002), "seconds": 12.0, "every_seconds": 1.0}


def write(folder: Path, put_video: PutVideo) -> None:
    """Nothing to write."""
