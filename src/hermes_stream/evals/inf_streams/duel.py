"""Two speakers before a judge, segment by segment and in both orders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hermes_stream.errors import TaskError
from hermes_stream.evals.inf_streams.games import Segment
from hermes_stream.evals.judges.endpoint import Asker, Message
from hermes_stream.evals.wording import python_text

_N_AT_ONCE = 8
_MOST_CHARACTERS = 8000
_JUDGE_FILE = "streaming_vlm/eval/model_compete/judge.py"
_SYSTEM = (
    "Two speakers commented on the same part of a video while they watched it. Say who did better. Look at the "
    "delivery first: it is live, it calls what happens at the moment it happens, its energy follows the events, and it "
    "is more than a list of what can be seen. Then at the truth: nothing contradicts what the transcript shows to have "
    "happened. Reply with one letter, A or B, and nothing else."
)
# Who speaks fluently wins otherwise, whatever is said.
_TRUTH = (
    "Two speakers commented on the same part of a video. Say whose words fit better what the transcript shows to have "
    "happened: what is said happens, at about that time, and nothing is made up. Style does not count, and who says "
    "little is not right for that. Reply with one letter, A or B, and nothing else."
)
_TEMPLATE = "Transcript of the real commentary:\n{reference}\n\nSpeaker A:\n{A}\n\nSpeaker B:\n{B}\n\nWho did better?"
_LETTER = re.compile(r"\W*(?:(?:candidate|speaker)\s+)?([AB])\W*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a judge is asked. template: for `str.format`, with places for reference, A and B."""

    system: str = _SYSTEM
    template: str = _TEMPLATE

    @staticmethod
    def of_truth() -> Prompt:
        """A check of facts alone."""
        return Prompt(_TRUTH)

    @staticmethod
    def published(folder: Path) -> Prompt:
        """From a copy of the benchmark's repository. Raises TaskError where it is none."""
        return Prompt(python_text(folder, _JUDGE_FILE, "SYS_PROMPT"), python_text(folder, _JUDGE_FILE, "USER_TEMPLATE"))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(f"{self.system}\0{self.template}".encode()).hexdigest()

    def messages(self, reference: str, first: str, second: str) -> tuple[Message, ...]:
        """Each text is cut at 8,000 characters, as in the release."""
        reference, first, second = (text.strip()[:_MOST_CHARACTERS] for text in (reference, first, second))
        return (("system", self.system), ("user", self.template.format(reference=reference, A=first, B=second)))


@dataclass(frozen=True, slots=True)
class Pair:
    """What two speakers said about a segment."""

    segment: Segment
    mine: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Votes:
    """What a judge wrote of a pair: once with mine as A, once as B; None where it could not be asked.

    is_same: both said the same words, so that nobody was asked and it is a tie.
    """

    mine_first: str | None = None
    theirs_first: str | None = None
    is_same: bool = False

    @property
    def is_judged(self) -> bool:
        return self.is_same or (self.mine_first is not None and self.theirs_first is not None)

    @property
    def for_mine(self) -> tuple[bool, bool] | None:
        """Whether mine won, in each order; None where a reply is missing or is no letter."""
        if self.is_same:
            return True, False
        first, second = letter_of(self.mine_first), letter_of(self.theirs_first)
        return None if first is None or second is None else (first == "A", second == "B")

    @property
    def official_for_mine(self) -> tuple[bool, bool]:
        """The same as the release reads it: whatever does not begin with A is B."""
        if self.is_same:
            return True, False
        return _begins_with_a(self.mine_first), not _begins_with_a(self.theirs_first)


@dataclass(frozen=True)
class Judgement:
    """votes: of each pair, in order. error: why some could not be had, in one line; a second start asks for these."""

    votes: tuple[Votes, ...]
    error: str | None = None


def judge_pairs(asker: Asker, prompt: Prompt, pairs: Sequence[Pair], n_at_once: int = _N_AT_ONCE) -> Judgement:
    """Ask about every pair in both orders; a judge that fails is no error here."""
    errors: list[str] = []

    def reply(messages: Sequence[Message]) -> str | None:
        try:
            return asker.ask(messages).text
        except TaskError as error:
            errors.append(str(error))
            return None

    def votes_of(pair: Pair) -> Votes:
        if pair.mine.strip() == pair.theirs.strip():
            return Votes(is_same=True)
        reference = pair.segment.reference
        first = reply(prompt.messages(reference, pair.mine, pair.theirs))
        return Votes(first, reply(prompt.messages(reference, pair.theirs, pair.mine)))

    with ThreadPoolExecutor(n_at_once, "hermes-judge") as pool:
        votes = tuple(pool.map(votes_of, pairs))
    return Judgement(votes, errors[0] if errors else None)


def letter_of(reply: str | None) -> str | None:
    """The letter that a reply is; None where it is more or something else."""
    found = _LETTER.fullmatch(reply or "")
    return found[1].upper() if found else None


def _begins_with_a(reply: str | None) -> bool:
    return (reply or "").strip().upper().startswith("A")
