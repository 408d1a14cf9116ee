"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 30.0
_JITTER = 0.2


class Backoff:
    """1, 2, 4 ... 30 seconds, each a fifth more or less, so that not everybody comes back at the same moment."""

    def __init__(self, dice: random.Random | None = None) -> None:
        self._dice = dice or random.Random()
        self._next_seconds = _FIRST_SECONDS

    def next_seconds(self) -> float:
        """How long to wait now; longer the next time."""
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, _LONGEST_SECONDS)
        return seconds * self._dice.uniform(1 - _JITTER, 1 + _JITTER)

    def reset(self) -> None:
        """It has worked for a while."""
        self._next_seconds = _FIRST_SECONDS
