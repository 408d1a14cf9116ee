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


def visible(
    n_prefix: int, frame_ends: Sequence[int], n_tokens: int, sees: list[set[int]], held: set[int]
) -> torch.Tensor:
    """Bool `[T, T]`. frame_ends: token past each frame's last; what follows the last is the question."""
    frame_of = [-1] * n_prefix
    for frame, end in enumerate(frame_ends):
        frame_of += [frame] * (end - len(frame_of))
    n_video = len(frame_of)
    allowed = torch.zeros(n_tokens, n_tokens, dtype=torch.bool)
    for query in range(n_tokens):
        for key in range(query + 1):
            if key < n_prefix or key >= n_video:
                allowed[query, key] = True
            else:
                seen = held if query >= n_video else sees[frame_of[query]] if query >= n_prefix else set()
                allowed[query, key] = frame_of[key] in seen
    return allowed
