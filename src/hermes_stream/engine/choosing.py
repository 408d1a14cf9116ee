"""From a forward's logits to the next tokens of all its answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.engine.faults import NO_TOKEN, stopped, token_or_none
from hermes_stream.engine.graphs.static_forwards import Outcome
from hermes_stream.engine.question import Task
from hermes_stream.stages import SAMPLE, stage


def choose_tokens(tasks: Sequence[Task], outcome: Outcome) -> list[int | Exception]:
    """The next token of each answer, or why there is none; however many they are, the device is read once.

    A SessionError where logits are not finite.
    """
    if not tasks:
        return []
    with stage(SAMPLE):
        return _chosen(tasks, outcome)


def _chosen(tasks: Sequence[Task], outcome: Outcome) -> list[int | Exception]:
    failures: dict[int, Exception] = {}
    chosen = []
    for index, (task, logits_V, largest) in enumerate(zip(tasks, outcome.logits_AV, outcome.largest_A, strict=True)):
        try:
            chosen.append(task.choose(logits_V, largest))
        except Exception as error:  # it is the asker's to handle
            failures[index] = error
            chosen.append(largest)
    token_ids = token_or_none(torch.stack(chosen), outcome.logits_AV).tolist()
    for index, token_id in enumerate(token_ids):
        if token_id == NO_TOKEN:
            failures[index] = stopped("the logits of an answer were", tasks[index].question.time_seconds)
    return [failures.get(index, token_id) for index, token_id in enumerate(token_ids)]
