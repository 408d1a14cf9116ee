"""What a memory policy costs beside the encoding of frames: the parts of an interval, counted and timed."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from hermes_stream.stages import EVICT, PLACE, PROBE, SCORE, TEXT, VISION

# What encoding the frames takes, under any policy; and what this one adds.
OWN, EXTRA = (VISION, TEXT), (PROBE, SCORE, EVICT, PLACE)
# A policy that needs no probe and hardly any arithmetic; others are compared with it.
PLAIN = "sliding-window"


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval of a full memory. Of each part: seconds and floating-point operations.

    prompt_tokens: of each probe. intervals_per_placement: from one re-placement to the next; their seconds and
    operations are divided by it. packed_seconds: of the text model with the probes in its forward. plain_seconds: what
    the plain policy takes to decide and to evict. released_flops: of the three extra passes of HERMES' released code,
    with its shortcut of raw embeddings; released_passes_flops: the same as true forwards.
    """

    seconds: dict[str, float]
    flops: dict[str, float]
    n_tokens: int
    prompt_tokens: tuple[int, ...]
    intervals_per_placement: int
    packed_seconds: float
    plain_seconds: float
    released_flops: int
    released_passes_flops: int


@dataclass(frozen=True, slots=True)
class MemoryCost:
    """Medians over intervals. pass_bytes: weights that one more pass of the text model reads.

    A probe's seconds are those of a forward of its own, an upper bound: where it rides along, it does not read the
    weights once more.
    """

    intervals: tuple[Interval, ...]
    pass_bytes: int

    def seconds(self, part: str) -> float:
        return median(interval.seconds[part] for interval in self.intervals)

    def flops(self, part: str) -> float:
        return median(interval.flops[part] for interval in self.intervals)

    @property
    def own_seconds(self) -> float:
        """Of an interval without any policy: encoding its frames."""
        return sum(self.seconds(part) for part in OWN)

    @property
    def own_flops(self) -> float:
        return sum(self.flops(part) for part in OWN)

    @property
    def extra_seconds(self) -> float:
        return sum(self.seconds(part) for part in EXTRA)

    @property
    def extra_flops(self) -> float:
        return sum(self.flops(part) for part in EXTRA)

    @property
    def packed_share(self) -> float:
        """How much longer the text model takes with the probes in its forward; small shares drown in noise."""
        return median(interval.packed_seconds / interval.seconds[TEXT] for interval in self.intervals) - 1

    @property
    def against_plain(self) -> float:
        """How much longer the interval takes than the same one under a policy that needs no probe."""
        plain = median(interval.plain_seconds for interval in self.intervals)
        return (self.own_seconds + self.extra_seconds) / (self.own_seconds + plain) - 1

    def as_row(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        first = self.intervals[0]
        parts = {
            part: {
                "flops": self.flops(part),
                "flops_share": self.flops(part) / self.own_flops,
                "seconds": self.seconds(part),
                "seconds_share": self.seconds(part) / self.own_seconds,
            }
            for part in OWN + EXTRA
        }
        return {
            "intervals": len(self.intervals),
            "tokens_per_interval": first.n_tokens,
            "prompt_tokens": list(first.prompt_tokens),
            "intervals_per_placement": first.intervals_per_placement,
            "parts": parts,
            "extra_flops_share": self.extra_flops / self.own_flops,
            "extra_seconds_share": self.extra_seconds / self.own_seconds,
            "text_model_with_probe_longer_by": self.packed_share,
            f"interval_longer_than_under_{PLAIN}_by": self.against_plain,
            "three_passes_of_the_release": {
                "flops_share": first.released_flops / self.own_flops,
                "flops_share_as_forwards": first.released_passes_flops / self.own_flops,
                "weight_bytes_read": 3 * self.pass_bytes,
            },
        }
