"""DSCache frame by frame: what each frame saw when it was run, and what a question sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def frames_seen(n_frames: int, interval: int, n_instant: int, n_window: int) -> tuple[list[set[int]], set[int]]:
    """Which frames each frame sees, itself included, as a question finds them; and which the question sees.

    Frames come in intervals; the window drops its oldest at the end of each.
    """
    ring: list[int] = []
    window: list[int] = []
    sees: list[set[int]] = [set() for _ in range(n_frames)]
    for frame in range(n_frames):
        ring.append(frame)
        if len(ring) > n_instant:
            leaving = ring.pop(0)
            window.append(leaving)
            sees[leaving] = set(window)
        if (frame + 1) % interval == 0:
            window = window[len(window) - n_window :] if len(window) > n_window else window
    for index, frame in enumerate(ring):
        sees[frame] = set(ring[: index + 1])
    return sees, {*window, *ring}


def prefix_again(n_prefix: int, first_instant: Sequence[int], time_axes: Sequence[int]) -> list[list[int]]:
    """Positions of a second prefix that stands before the instant frames as the first one does before a clip.

    A model knows distances only: frames that see this prefix see what they would see right behind the first one.
    first_instant: position of the first instant token, one number per axis.
    """
    shift = [first_instant[0] - n_prefix if axis in time_axes else 0 for axis in range(len(first_instant))]
    return [[index + move for move in shift] for index in range(n_prefix)]


def visible(
    n_prefix: int, frame_ends: Sequence[int], n_tokens: int, sees: list[set[int]], held: set[int], n_instant: int
) -> torch.Tensor:
    """Bool `[n_prefix + T, n_prefix + T]` for prefix, second prefix, frames and question.

    frame_ends: token past each frame's last, the second prefix not counted; what follows the last is the question.
    """
    prefix, again, question = -3, -2, -1
    owner = [prefix] * n_prefix + [again] * n_prefix
    for frame, end in enumerate(frame_ends):
        owner += [frame] * (end + n_prefix - len(owner))
    owner += [question] * (n_tokens + n_prefix - len(owner))
    instant = set(range(len(sees))[len(sees) - min(n_instant, len(sees)) :])
    may_see = {
        prefix: {prefix},
        again: {again},
        question: {prefix, question, *held},
        **{frame: {again if frame in instant else prefix, *seen} for frame, seen in enumerate(sees)},
    }
    allowed = torch.zeros(len(owner), len(owner), dtype=torch.bool)
    for query in range(len(owner)):
        for key in range(query + 1):
            allowed[query, key] = owner[key] in may_see[owner[query]]
    return allowed
