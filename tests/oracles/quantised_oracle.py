"""8-bit rows from the definition, number by number."""

from __future__ import annotations

import numpy as np
import torch

SMALLEST_SCALE = 2.0**-14


def quantise_by_loops(x_KND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, scales and what they stand for: a row of a head is its largest number / 127, times whole numbers."""
    codes, scales, back = (torch.zeros(shape) for shape in (x_KND.shape, x_KND.shape[:2], x_KND.shape))
    for head in range(x_KND.shape[0]):
        for row in range(x_KND.shape[1]):
            numbers = x_KND[head, row].tolist()
            largest = np.float32(max(abs(number) for number in numbers))
            scale = float(np.float16(max(largest / np.float32(127), np.float32(SMALLEST_SCALE))))
            scales[head, row] = scale
            for channel, number in enumerate(numbers):
                code = round(float(np.float32(number) / np.float32(scale)))  # halves to even, as IEEE rounds
                code = min(max(code, -127), 127)
                codes[head, row, channel] = code
                back[head, row, channel] = code * scale
    return codes, scales, back


def median_by_sorting(x_ND: torch.Tensor) -> list[float]:
    """Of each channel over the rows; of an even number of rows the lower of the two in the middle."""
    return [sorted(column)[(len(column) - 1) // 2] for column in x_ND.T.tolist()]
