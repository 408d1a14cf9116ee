"""How many replicas sessions need, from what each one holds and how far it is behind. Imports nothing that is slow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Of the memory for sessions: beyond that, new ones need room, and those of a replica that is lost as well.
_TARGET_SHARE = 0.7
# Below that by so much a replica fewer would still do; without a distance between the two it would go up and down.
_SPARE_SHARE = 0.8
# A live stream that is as far behind as this, on average, will not catch up.
_MOST_LAG_SECONDS = 2.0
SHARE, LAG = "memory_share", "lag_seconds"


@dataclass(frozen=True, slots=True)
class Load:
    """Of one replica. memory_share: of the bytes that sessions may take, how much is promised. lag_seconds: of the
    session that is most behind its stream.
    """

    memory_share: float
    lag_seconds: float


def wanted_replicas(loads: Sequence[Load], n_replicas: int) -> int:
    """How many there should be; limits and delays are for whoever asks. loads: of those that have reported.

    Enough for all memory at its target; one more for each replica whose streams are behind. Down one at a time, and
    only while nobody is behind, since sessions have to move.
    """
    if not loads:
        return n_replicas
    share = sum(load.memory_share for load in loads)
    n_behind = sum(load.lag_seconds > _MOST_LAG_SECONDS for load in loads)
    needed = max(math.ceil(share / _TARGET_SHARE), 1)
    if needed > n_replicas or n_behind:
        return max(needed, n_replicas + n_behind)
    is_spare = n_replicas > 1 and share / (n_replicas - 1) < _TARGET_SHARE * _SPARE_SHARE
    return n_replicas - 1 if is_spare else n_replicas


def wanted_on_ray(context: Any) -> tuple[int, dict[str, Any]]:
    """The same as Ray Serve asks it, with its AutoscalingContext; it smooths, delays and bounds the answer."""
    metrics = context.aggregated_metrics or {}
    shares, lags = metrics.get(SHARE, {}), metrics.get(LAG, {})
    loads = [Load(share, lags.get(replica, 0.0)) for replica, share in shares.items()]
    return wanted_replicas(loads, context.target_num_replicas), {}
