"""From a forward's logits to the next tokens of all its answers.

Shape letters: L rows of logits, one per answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.engine.answer import AnswerTask


def choose_tokens(
    tasks: Sequence[AnswerTask], logits_LV: torch.Tensor, largest_L: torch.Tensor | None = None
) -> list[int | Exception]:
    """The next token of each answer, or why there is none; however many they are, the device is read once.

    largest_L: which logits are the largest, where the forward has found them already.
    """
    if not tasks:
        return []
    if largest_L is None:
        largest_L = logits_LV.argmax(dim=-1)
    failures: dict[int, Exception] = {}
    chosen = []
    for index, (task, logits_V, largest) in enumerate(zip(tasks, logits_LV, largest_L, strict=True)):
        try:
            chosen.append(task.choose(logits_V, largest))
        except Exception as error:  # it is the asker's to handle
            failures[index] = error
            chosen.append(largest)
    return [failures.get(index, token_id) for index, token_id in enumerate(torch.stack(chosen).tolist())]
