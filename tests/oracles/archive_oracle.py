"""Quantisation and view positions from their definitions, number by number."""

from __future__ import annotations

import numpy as np


def quantised(rows_ND: np.ndarray, bits: int) -> np.ndarray:
    """What comes back of `[N, D]`: per channel, the nearest of 2^bits values from the minimum on, float16 ranges."""
    out = np.empty(rows_ND.shape, dtype=np.float32)
    for channel in range(rows_ND.shape[1]):
        column = [np.float32(value) for value in rows_ND[:, channel]]
        low = np.float32(np.float16(min(column)))
        step = max((max(column) - low) / np.float32(2**bits - 1), np.float32(np.finfo(np.float16).smallest_normal))
        scale = np.float32(np.float16(step))
        for row, value in enumerate(column):
            code = min(max(np.round((value - low) / scale), 0), 2**bits - 1)
            out[row, channel] = np.float32(code) * scale + low
    return out


def frames_behind_frames(frames: list[int], offsets: list[tuple[int, int, int]], start: int) -> list[tuple[int, ...]]:
    """Three axes: each frame (-1: a summary, by itself) begins behind the largest position so far on any axis."""
    placed: list[tuple[int, ...]] = []
    begin, end, last = start, start, None
    for frame, offset in zip(frames, offsets, strict=True):
        if frame != last or frame < 0:
            begin, last = end, frame
        placed.append(tuple(begin + axis for axis in offset))
        end = max(end, *(position + 1 for position in placed[-1]))
    return placed
