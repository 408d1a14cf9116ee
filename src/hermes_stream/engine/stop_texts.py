"""Texts before which an answer ends, whatever pieces it comes in."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Lets an answer through up to where the first of some texts is complete, and holds back what may become one.

    text: what was let through. is_hit: whether one of them came; nothing is let through any more.
    Of texts that are complete with the same character, the longest counts.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.text = ""
        self.is_hit = False

    def push(self, piece: str) -> str:
        """The next piece of the answer; returns what may be shown of it and of those before."""
        if self.is_hit:
            return ""
        self._held += piece
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_hit = True
            return self._let(min(found)[1], rest=False)
        return self._let(len(self._held) - self._n_doubtful())

    def finish(self) -> str:
        """The answer is over; returns what was held back."""
        return self._let(len(self._held))

    def _let(self, n: int, *, rest: bool = True) -> str:
        shown, self._held = self._held[:n], self._held[n:] if rest else ""
        self.text += shown
        return shown

    def _n_doubtful(self) -> int:
        """Characters at the end that a stop text may begin with."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self._stops):
                return n
        return 0
