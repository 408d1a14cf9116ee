"""The rows of `bench latency`, and what they say about growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Memories of a few frames are not full; ratios are taken against this many, or the fewest that were measured.
REFERENCE_FRAMES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """Questions to one memory. All times in milliseconds.

    ttft: from asking to the first token, with everything that happens meanwhile; tpot: median of each further token.
    pending: what had to be done for the newest frame and before the question is read: newest_frame, from handing it
        over until it is in (encoding and, where it ends an interval, prompts, scoring and eviction; hardly anything for
        a frame that waits for its partner); and preparation, before the forward that the answer begins with (encoding a
        waiting frame, recall). The latter is part of ttft as well, the former is not.
    peak_bytes: most that the memory has taken, room to grow, archive and the policy's own tensors included;
        process_peak_bytes, device_peak_bytes: of the whole process when the memory was filled, None where unknown.
    held_tokens: of the layer that holds most. filled_with: whether all frames were encoded, or pictures' encodings
        reused.
    """

    policy: str
    frames: int
    chunk: int
    budget: int | None
    ttft_ms_p50: float
    ttft_ms_p95: float
    tpot_ms: float | None
    pending_ms: float
    newest_frame_ms: float
    preparation_ms: float
    peak_bytes: int
    memory_bytes: int
    archive_bytes: int
    process_peak_bytes: int | None
    device_peak_bytes: int | None
    held_tokens: int
    question_tokens: int
    questions: int
    filled_with: str

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedRow:
    """A memory that did not reach a number of frames, and why."""

    policy: str
    frames: int
    chunk: int
    frames_reached: int
    error: str

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


Row = LatencyRow | StoppedRow


@dataclass(frozen=True, slots=True)
class Growth:
    """The longest stream of a memory against a short one: ratios of TTFT (medians) and of peak bytes."""

    late: LatencyRow
    early: LatencyRow

    @property
    def ttft_ratio(self) -> float:
        return self.late.ttft_ms_p50 / self.early.ttft_ms_p50

    @property
    def peak_ratio(self) -> float:
        return self.late.peak_bytes / self.early.peak_bytes

    def as_row(self) -> dict[str, Any]:
        return {
            "policy": self.late.policy,
            "chunk": self.late.chunk,
            "frames": self.late.frames,
            "against_frames": self.early.frames,
            "ttft_ratio": round(self.ttft_ratio, 4),
            "peak_ratio": round(self.peak_ratio, 4),
        }


def growths(rows: Sequence[Row]) -> list[Growth]:
    """One for each memory and chunk that was asked after more than one number of frames."""
    found = []
    measured = [row for row in rows if isinstance(row, LatencyRow)]
    for policy, chunk in dict.fromkeys((row.policy, row.chunk) for row in measured):
        same = sorted((r for r in measured if (r.policy, r.chunk) == (policy, chunk)), key=lambda row: row.frames)
        if len(same) > 1:
            early = next((row for row in same[:-1] if row.frames == REFERENCE_FRAMES), same[0])
            found.append(Growth(same[-1], early))
    return found
