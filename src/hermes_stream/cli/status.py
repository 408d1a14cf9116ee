"""How a watched stream stands, as values and as one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hermes_stream.cli.output import human_bytes

if TYPE_CHECKING:
    from hermes_stream.cli.conversation import Exchange
    from hermes_stream.engine.session import SessionStats

VISIBLE_LAG_SECONDS = 1.0


class HeldGroup(NamedTuple):
    """What a layer of a group holds: as text, and the most that one of them does."""

    name: str
    places: str
    shown: str
    most: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that is shown, at one moment.

    fps: frames per second that came into the memory, as measured. groups: names of ranges of layers.
    interval_tokens: what comes in between two compressions.
    typed: the line that is being typed, None where nobody can type. notice: what went wrong, empty if nothing did.
    """

    source: str
    state: str
    stats: SessionStats
    duration_seconds: float | None
    fps: float | None
    lag_seconds: float
    n_dropped: int
    groups: Mapping[str, range]
    budget_tokens: int | None
    interval_tokens: int
    ttft_seconds: float | None
    n_questions: int
    typed: str | None
    notice: str

    @property
    def clock(self) -> str:
        """Where the stream stands, of how much."""
        seconds = clock_text(self.stats.time_seconds)
        return seconds if self.duration_seconds is None else f"{seconds} / {clock_text(self.duration_seconds)}"


def transcript(exchange: Exchange) -> str:
    """A question and its answer, as `ask` prints them."""
    answer = exchange.answer
    if exchange.error:
        reply = f"no answer: {exchange.error}"
    elif answer is None:
        reply = f"{exchange.text} … (not finished)"
    else:
        held = f"{max(answer.held_tokens)} tokens, {human_bytes(answer.memory_bytes)}"
        reply = f"{answer.text}   ({answer.ttft_seconds * 1000:.0f} ms; {held})"
    return printable(f"[{exchange.time_seconds:7.1f} s] {exchange.question}") + "\n" + " " * 12 + printable(reply)


def status_line(status: Status) -> str:
    """The panel in one line."""
    stats = status.stats
    parts = [
        f"{status.clock}",
        f"{stats.frames_seen} frames",
        "" if status.fps is None else f"{status.fps:.1f} fps",
        f"lag {status.lag_seconds:.1f} s" if status.lag_seconds > VISIBLE_LAG_SECONDS else "",
        f"{status.n_dropped} dropped" if status.n_dropped else "",
        ", ".join(f"{group.name} {group.shown}" for group in held_groups(status)) + " tokens a layer",
        human_bytes(stats.memory_bytes),
        f"{stats.n_compressions} compressions",
        "" if status.ttft_seconds is None else f"first token {status.ttft_seconds * 1000:.0f} ms",
    ]
    return " · ".join(part for part in parts if part)


def clock_text(seconds: float) -> str:
    """75 as "1:15", 3675 as "1:01:15"."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def held_groups(status: Status) -> list[HeldGroup]:
    """The groups that have layers."""
    rows = []
    for name, layers in status.groups.items():
        if not layers:
            continue
        held = [status.stats.held_tokens[index] for index in layers]
        places = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}–{layers[-1]}"
        shown = str(held[0]) if min(held) == max(held) else f"{min(held)}–{max(held)}"
        rows.append(HeldGroup(name, places, shown, max(held)))
    return rows


def printable(text: str) -> str:
    """Without what would move the cursor or change the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
