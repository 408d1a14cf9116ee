"""A conversation as the families' chat templates write it, message by message."""

from __future__ import annotations

from collections.abc import Sequence

VIDEO = "<video>"


def conversation(family: str, turns: Sequence[tuple[str, str]], question: str) -> str:
    """What comes after the video of the first message, up to where the answer is to be written."""
    messages = [(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    messages.append(("user", question))
    written = ""
    for index, (role, text) in enumerate(messages):
        video = VIDEO if index == 0 else ""
        if family == "llava_onevision":
            # A space after each role, a line break before each text, nothing between messages.
            written += f"<|im_start|>{role} {video}\n{text}<|im_end|>"
        else:
            written += f"<|im_start|>{role}\n{video}{text}<|im_end|>\n"
    return (written + "<|im_start|>assistant\n").split(VIDEO)[1]
