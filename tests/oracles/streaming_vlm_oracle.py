"""StreamingVLM's released loop over lists of ids, written from its description: sections 4 to 6 of the specification.

Ids are names. A list is cut up in the way in which the release finds its parts: by headers and end markers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Position = tuple[int, int, int]


@dataclass
class Round:
    """A user's turn and the reply. cells: how many rows and columns its grid has."""

    number: int
    header: list[str]
    time: list[str]
    vision: list[str]
    asked: list[str]
    close: list[str]
    cells: tuple[int, int]
    reply: list[str] = field(default_factory=list)

    def ids(self, *, is_newest: bool) -> list[str]:
        newline = [f"A{self.number}.newline"] if self.reply and not is_newest else []
        return [*self.header, *self.time, *self.vision, *self.asked, *self.close, *self.reply, *newline]


@dataclass
class Windows:
    """text_rounds, visual_rounds: the current one included. sink, sliding: of the previous text; None cuts nothing."""

    text_rounds: int
    visual_rounds: int
    sink: int | None = None
    sliding: int | None = None


class ReleasedLoop:
    """One second after the other; `ids` is what the cache holds at the end of the newest one."""

    def __init__(self, windows: Windows, previous: Sequence[str] = (), query: Sequence[str] = ()) -> None:
        self._windows = windows
        self._system = [f"system.{index}" for index in range(11)]
        self._before = [f"previous.open.{index}" for index in range(4)]
        self._words = list(previous)
        self._after = ["previous.close.0", "previous.close.1"]
        self._query = list(query)
        self._rounds: list[Round] = []
        self._second = 0

    def second(
        self, words: Sequence[str], *, n_time: int, cells: tuple[int, int] = (2, 2), is_cut: bool = False
    ) -> None:
        """What a second does before and after its frames. is_cut: the reply ended without its marker."""
        number = self._second
        self._evict(number)
        pads = [f"V{number}.{row}.{column}" for row in range(cells[0]) for column in range(cells[1])]
        self._rounds.append(
            Round(
                number,
                header=[f"U{number}.open.{index}" for index in range(3)],
                time=[f"U{number}.time.{index}" for index in range(n_time)],
                vision=[f"U{number}.start", *pads, f"U{number}.end"],
                asked=self._query if number == 0 else [],
                close=[f"U{number}.close.{index}" for index in range(2)],
                cells=cells,
                reply=[
                    *(f"A{number}.open.{index}" for index in range(3)),
                    *words,
                    *([] if is_cut else [f"A{number}.silence"]),
                    f"A{number}.close",
                ],
            )
        )
        self._second += 1

    def _evict(self, i: int) -> None:
        w = self._windows
        in_place = [r for r in self._rounds if r.reply]
        if i >= w.text_rounds:
            oldest = in_place[0]
            # Three of header; the marker and the end, whatever really stands there.
            self._words += oldest.reply[3:-2]
            oldest.reply = []
            if w.visual_rounds > w.text_rounds:
                oldest.time = []
        if i >= w.visual_rounds and w.visual_rounds < w.text_rounds:
            next(r for r in self._rounds if r.vision).vision = []
        if i >= max(w.visual_rounds, w.text_rounds):
            oldest_turn = next(r for r in self._rounds if r.header)
            oldest_turn.header = oldest_turn.time = oldest_turn.vision = oldest_turn.asked = oldest_turn.close = []
        if i > 0 and w.sink is not None and w.sliding is not None:
            n_tail = w.sliding - 1
            if len(self._words) > w.sink + n_tail:
                self._words = self._words[: w.sink] + self._words[len(self._words) - n_tail :]

    @property
    def ids(self) -> list[str]:
        newest = self._rounds[-1]
        turns = [name for r in self._rounds for name in r.ids(is_newest=r is newest)]
        return [*self._system, *self._before, *self._words, *self._after, *turns]

    @property
    def block_size(self) -> int:
        return len(self._before) + len(self._words) + len(self._after)

    @property
    def n_vision_blocks(self) -> int:
        return sum(bool(r.vision) for r in self._rounds)

    def positions(self) -> list[Position]:
        """Contiguous M-RoPE of the whole list, one grid a block."""
        return lay_out(self.ids, {r.number: r.cells for r in self._rounds})

    def next_position(self) -> int:
        return next_after(self.positions())


def lay_out(ids: Sequence[str], cells: dict[int, tuple[int, int]]) -> list[Position]:
    """Text takes the same running number on all axes; a grid at p has t = p, h = p + row, w = p + column."""
    positions: list[Position] = []
    corner = end = 0
    for index, name in enumerate(ids):
        if name.startswith("V"):
            number, row, column = (int(part) for part in name[1:].split("."))
            assert row < cells[number][0]
            assert column < cells[number][1]
            if index == 0 or not ids[index - 1].startswith(f"V{number}."):
                corner = end
            positions.append((corner, corner + row, corner + column))
        else:
            positions.append((end, end, end))
        end = max(end, max(positions[-1]) + 1)
    return positions


def next_after(positions: Sequence[Position]) -> int:
    """One past the largest on any axis."""
    return max((max(position) for position in positions), default=-1) + 1
