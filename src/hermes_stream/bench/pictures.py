"""Something to look at: frames of the synthetic world, for measurements that need no truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hermes_stream.shapestream import EVALUATION_SEEDS, make_script, render_frame

_SIZE = 640, 360


def pictures(n: int, *, every_seconds: int = 1) -> list[NDArray[np.uint8]]:
    """n moments from the beginning of a held-back script, uint8 RGB `[height, width, 3]`."""
    script = make_script(EVALUATION_SEEDS.start, n * every_seconds)
    return [render_frame(script, second, *_SIZE) for second in range(0, n * every_seconds, every_seconds)]
