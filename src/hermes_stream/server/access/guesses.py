"""Wrong keys are answered late: the more of them an address has shown, the later. Right ones never wait."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_FREE = 4
_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 2.0
_MOST_WAITING = 4
_FORGIVEN_SECONDS = 60.0
_MOST_ADDRESSES = 4096


class Guesses:
    """Wrong keys by address; the last 4,096 addresses are known. Used on the server's loop.

    Of one address so many wrong keys wait for their answer at once; while they do its further requests with a key are
    turned away unread. So nobody tries more than a few keys a second, and a client with an old key locks nobody out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Address: how many, and when the last one was.
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting: dict[str, int] = {}

    def may_try(self, address: str) -> bool:
        """Whether a key that this address shows is looked at."""
        return self._waiting.get(address, 0) < _MOST_WAITING

    def wrong(self, address: str) -> float:
        """Count a wrong key; returns after how many seconds it is to be answered."""
        n_wrong, last = self._wrong.pop(address, (0, 0.0))
        n_wrong = 1 if self._clock() - last > _FORGIVEN_SECONDS else n_wrong + 1
        self._wrong[address] = n_wrong, self._clock()
        if len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)
        doublings = min(n_wrong - _FREE - 1, 8)
        return min(_FIRST_SECONDS * 2.0**doublings, _LONGEST_SECONDS) if doublings >= 0 else 0.0

    def wait(self, address: str) -> None:
        """One more of its wrong keys waits for an answer."""
        self._waiting[address] = self._waiting.get(address, 0) + 1

    def answered(self, address: str) -> None:
        """One of them has its answer."""
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]
