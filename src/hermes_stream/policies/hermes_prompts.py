"""The guidance prompts of HERMES: fixed texts that stand in for the question that nobody has asked yet.

Source: HERMES, arXiv 2601.14724; the wording is the same in the paper and in its released code.
"""

from __future__ import annotations

import re

from hermes_stream.types import Turn

LOCAL = (
    "Describe the current scene in detail, focusing on specific objects, fine-grained actions, "
    "and spatial relationships."
)
GLOBAL = (
    "Summarize the video narrative, identifying main characters, key events, timeline changes, and the overall theme."
)

# Texts for recent detail and for the whole. The alternatives are those of the paper's ablation, one text for both.
PROMPTS: dict[str, tuple[str, str]] = {
    "paper": (LOCAL, GLOBAL),
    "what-happens": ("What happens in the video?",) * 2,
    "describe": ("Describe the video in detail.",) * 2,
    "summarize": ("Summarize the content of the video.",) * 2,
}

_OPTION_LABEL = re.compile(r"\(?\b[A-Z]\) ")


def local_prompt(last_turn: Turn | None, texts: tuple[str, str] = (LOCAL, GLOBAL)) -> str:
    """What is going on now; about the last question, if there is one."""
    return texts[0] if last_turn is None else f"Find recent details related to: {history_text(last_turn)}. {texts[0]}"


def global_prompt(last_turn: Turn | None, texts: tuple[str, str] = (LOCAL, GLOBAL)) -> str:
    """What the whole video is about; deep layers keep what this one looks at."""
    return texts[1] if last_turn is None else f"Context summary: {history_text(last_turn)}. {texts[1]}"


def mixed_prompt(last_turn: Turn | None, texts: tuple[str, str] = (LOCAL, GLOBAL)) -> str:
    """Both, for middle layers; history appears twice, as in the paper. A pair of one text is asked once."""
    if texts[0] == texts[1]:
        return global_prompt(last_turn, texts)
    return f"{local_prompt(last_turn, texts)}; {global_prompt(last_turn, texts)}"


def history_text(turn: Turn) -> str:
    """A remembered turn as the prompts quote it.

    Labels of options, as in "B) a cat", are removed from the answer. An answer of a letter alone was replaced by the
    option's text when the turn was made.
    """
    return f"Question: {turn.question} Answer: {_OPTION_LABEL.sub('', turn.answer)}"
