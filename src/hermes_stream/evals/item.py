"""What is asked of a memory and what came back: the nouns that every benchmark shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

GoldKind = Literal["letter", "text", "count", "yesno", "time_text", "transcript"]

END = math.inf


@dataclass(frozen=True, slots=True)
class Gold:
    """The truth. value: a letter, a text, a whole number, "yes" or "no", ..., always as text.

    facts: whatever else only an evaluation may know: captions, times of clues and of right moments.
    """

    kind: GoldKind
    value: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One record of a benchmark. Seconds are of the video file.

    qid: unique in the benchmark. video: a path below the data folder: of a file, a folder of pictures or an array.
    task: the benchmark's own name of the kind of question.
    ask_seconds: when it is asked; END is after the last frame.
    clip: the part of the video that is watched; a memory that is asked begins with its first frame.
    frame_rate: pictures a second, of a folder or an array of them; None for what has a clock of its own.
    about: the interval that the question concerns, where the set says so. delay_seconds: from what the answer needs
        leaving the screen to the question, where the set says so; 0 is still visible.
    choices: the options' texts, without letters. gold: None where the labels are held back.
    order: rank among the items of a video that are asked at the same time; dialogue: items with the same one follow
        each other up, so that each prompt may quote what was said before.
    meta: all other fields; prompts may use them.
    No prompt shows `gold`, `about` or `delay_seconds`.
    """

    bench: str
    split: str
    qid: str
    video: str
    task: str
    question: str
    gold: Gold | None
    ask_seconds: float = END
    clip: tuple[float, float] = (0.0, END)
    frame_rate: float | None = None
    about: tuple[float, float] | None = None
    delay_seconds: float | None = None
    choices: tuple[str, ...] = ()
    order: int = 0
    dialogue: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def truth(self) -> str:
        """The gold value; empty where labels are held back."""
        return "" if self.gold is None else self.gold.value


@dataclass(frozen=True, slots=True)
class Ask:
    """One time that an item is asked: most items have one, polls have several.

    index: of the poll; None where the item is asked once. part: which of several questions at one moment, as in
    "output". shows_gold: the official protocol puts a gold answer into this prompt.
    """

    qid: str
    seconds: float
    index: int | None = None
    part: str = ""
    shows_gold: bool = False

    @property
    def key(self) -> str:
        """Unique in a run: "qid", "qid#poll", "qid#poll:part"."""
        poll = "" if self.index is None else f"#{self.index}"
        return self.qid + poll + (f":{self.part}" if self.part else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a memory said to one `Ask`, raw.

    time_seconds: of the newest frame that it knew. probabilities: of each choice, where they were asked for.
    error: why there is no answer; the text is empty then. flags: what was unusual, as "past the end".
    """

    key: str
    text: str = ""
    time_seconds: float = 0.0
    probabilities: Mapping[str, float] | None = None
    error: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def likeliest(self) -> str | None:
        """The most probable choice, the first of equals; None where nobody asked."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.probabilities else None


Earlier = tuple[Item, Ask, Reply]
"""A question that was asked before in the same dialogue, and the answer to it."""
