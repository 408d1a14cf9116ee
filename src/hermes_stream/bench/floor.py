"""What the hardware allows: how long reading and arithmetic of a figure take at the rates of this machine.

Weights are read once a forward, keys and values once, and matrix products run at the best rate seen; the three come one
after the other, so that a machine which does them at the same time may come below. Activations, norms, softmax, vision
weights and starting kernels take no time here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hermes_stream.models.flops import TextSizes


@dataclass(frozen=True, slots=True)
class Rates:
    """bytes_per_second: read and written by large copies. flops_per_second: of matrix products."""

    bytes_per_second: float
    flops_per_second: float


@dataclass(frozen=True, slots=True)
class Work:
    """What one figure needs at least: bytes of weights and of keys and values, floating-point operations."""

    weight_bytes: float
    kv_bytes: float
    flops: float

    def floor(self, rates: Rates) -> Floor:
        return Floor(
            self.weight_bytes / rates.bytes_per_second,
            self.kv_bytes / rates.bytes_per_second,
            self.flops / rates.flops_per_second,
        )


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds."""

    weights_seconds: float
    kv_seconds: float
    arithmetic_seconds: float

    @property
    def seconds(self) -> float:
        return self.weights_seconds + self.kv_seconds + self.arithmetic_seconds


def question_work(sizes: TextSizes, linear_bytes: float, n_tokens: int, n_held: int, element_bytes: int) -> Work:
    """A question of n tokens up to its first token, over as many held rows in every layer; with 1, a decode step.

    linear_bytes: of the layers' linear weights, as stored. element_bytes: of a number in the model's precision, which
    rows have. Of embeddings, only the rows of the question are read, which is nothing.
    """
    return Work(
        weight_bytes=linear_bytes + sizes.n_head_weights * element_bytes,
        kv_bytes=kv_bytes(sizes, n_held, element_bytes),
        flops=sizes.linear(n_tokens)
        + sizes.n_layers * sizes.attention(n_tokens * (n_held + n_tokens))
        + 2 * sizes.n_head_weights,
    )


def frame_work(
    sizes: TextSizes,
    linear_bytes: float,
    encoding_flops: float,
    frame_tokens: float,
    n_frames: int,
    n_held: int,
    element_bytes: int,
) -> Work:
    """One frame of those that go through the text model together. encoding_flops: of one frame in the vision tower."""
    n_new = frame_tokens * n_frames
    per_interval = sizes.linear(1) * n_new + sizes.n_layers * sizes.attention(1) * n_new * (n_held + n_new)
    return Work(
        weight_bytes=linear_bytes / n_frames,
        kv_bytes=kv_bytes(sizes, n_held + n_new, element_bytes) / n_frames,
        flops=encoding_flops + per_interval / n_frames,
    )


def kv_bytes(sizes: TextSizes, n_rows: float, element_bytes: int) -> float:
    """Keys and values of as many rows in every layer, as attention reads them."""
    return 2 * sizes.n_layers * sizes.n_kv_heads * sizes.head_dim * element_bytes * n_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorRow:
    """One figure beside its floor, times in milliseconds. measured_ms and ratio: None if nobody measured it.

    held_tokens: rows of a layer, prefix apart. source: the measurement.
    """

    figure: str
    source: str
    held_tokens: int
    weights_ms: float
    kv_ms: float
    arithmetic_ms: float
    floor_ms: float
    measured_ms: float | None
    ratio: float | None
    copy_bytes_per_second: float
    matrix_flops_per_second: float

    @staticmethod
    def of(figure: str, source: str, held_tokens: int, work: Work, rates: Rates, measured_ms: float | None) -> FloorRow:
        floor = work.floor(rates)
        floor_ms = 1000 * floor.seconds
        return FloorRow(
            figure=figure,
            source=source,
            held_tokens=held_tokens,
            weights_ms=round(1000 * floor.weights_seconds, 4),
            kv_ms=round(1000 * floor.kv_seconds, 4),
            arithmetic_ms=round(1000 * floor.arithmetic_seconds, 4),
            floor_ms=round(floor_ms, 4),
            measured_ms=measured_ms,
            ratio=None if measured_ms is None else round(measured_ms / floor_ms, 3),
            copy_bytes_per_second=rates.bytes_per_second,
            matrix_flops_per_second=rates.flops_per_second,
        )

    def as_row(self) -> dict[str, Any]:
        return asdict(self)
