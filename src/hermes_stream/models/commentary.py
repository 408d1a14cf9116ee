"""How a stream with commentary is written: its strings, and where frames stand in it. Training and engine share this.

A stream opens with the system prompt and the instruction; then comes the previous text, the words whose rounds are
gone; then one round for each time step: a user turn with the newest frames and an assistant turn with words and the
silence marker. Every method returns one piece, which is tokenised by itself: both sides so get the same ids.

Source: StreamingVLM, arXiv 2510.09608, and its released code (MIT), repaired: one spelling for training and streaming,
and the instruction stands before everything that is ever evicted.
Shape letters: R position axes, N tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from hermes_stream.errors import ConfigError

_INSTRUCTION = "Say what happens, as it happens."


@dataclass(frozen=True, slots=True)
class CommentaryPrompts:
    """The strings of one family; `with_settings` takes those that a checkpoint brings.

    time: announces a round, with `{start}` and `{end}` in seconds since the stream began; empty where frames bring
        their time along, or need none. vision_open, vision_close: around a round's frames, empty where grids bring
        their separators along. question: of somebody who interrupts, with `{text}`.
    silence: ends the words of every round and is all of a silent one; `turn_close` follows it. Both are predicted.
    answer_close: where a question came with a round, its reply begins with the answer and this.
    turn_end: stands between a reply and the next round; nobody predicts it.
    default_instruction: where nobody gives one.
    """

    system: str
    instruction: str
    previous_open: str
    previous_close: str
    user_open: str
    time: str
    vision_open: str
    vision_close: str
    question: str
    user_close: str
    assistant_open: str
    turn_end: str
    silence: str = " ..."
    turn_close: str = "<|im_end|>"
    answer_close: str = "\n"
    default_instruction: str = _INSTRUCTION

    def with_settings(self, settings: Mapping[str, Any]) -> CommentaryPrompts:
        """With a checkpoint's own strings. Raises ConfigError for a name that is none, or a value that is no text."""
        names = [field.name for field in fields(self)]
        for name, value in settings.items():
            if name not in names or not isinstance(value, str):
                raise ConfigError(f"commentary setting {name!r} is {value!r}; expected text for one of {names}")
        return replace(self, **settings)

    def opening(self, instruction: str | None = None) -> str:
        """What never leaves: the system prompt and the instruction; without the latter where it is empty."""
        text = self.default_instruction if instruction is None else instruction
        return self.system + (self.instruction.format(text=text) if text else "")

    def before_frames(self, start_seconds: float, end_seconds: float) -> str:
        """The user's turn up to the round's frames, which were shown from `start_seconds` to `end_seconds`."""
        return self.user_open + self.time.format(start=start_seconds, end=end_seconds) + self.vision_open

    def after_frames(self, question: str = "") -> str:
        """From the round's frames to where its words begin."""
        asked = self.question.format(text=question) if question else ""
        return self.vision_close + asked + self.user_close + self.assistant_open

    @staticmethod
    def spoken(word: str) -> str:
        """A word as it is said and kept."""
        return f" {word}"

    def words_of(self, reply: str) -> str:
        """The words of a reply: without the silence marker at its end, if it is there; space around does not count."""
        words = f" {reply.strip()}" if self.silence.startswith(" ") else reply.strip()
        return words.removesuffix(self.silence).strip()


def chatml_commentary(*, system: str, time: str, vision_open: str, vision_close: str) -> CommentaryPrompts:
    """As in the chat template of the Qwen families, with `previous text` as a role of its own."""
    return CommentaryPrompts(
        system=system,
        instruction="<|im_start|>user\n{text}<|im_end|>\n",
        previous_open="<|im_start|>previous text\n",
        previous_close="<|im_end|>\n",
        user_open="<|im_start|>user\n",
        time=time,
        vision_open=vision_open,
        vision_close=vision_close,
        question="{text}",
        user_close="<|im_end|>\n",
        assistant_open="<|im_start|>assistant\n",
        turn_end="\n",
    )


def stand_at(position_RN: torch.Tensor, start: int) -> torch.Tensor:
    """Positions of a round's frames, int64 `[R, N]`, so moved on each axis that they begin at `start`.

    What follows stands one behind their largest: text before, frames and text after them never share a position.
    """
    return position_RN - position_RN.amin(dim=1, keepdim=True) + start
