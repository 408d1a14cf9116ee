"""The event forest from its definition: events of tokens, merged one pair at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from .feature_oracle import Token, cosine, first_that_fit, mean_token, n_rows


@dataclass
class Node:
    """An event: its first and last time, how often it was merged, what it holds."""

    start: float
    end: float
    merges: int
    tokens: list[Token]


def penalty(s: float, c: int, c_max: int, a: float) -> float:
    return 0.4 * (1 - s) + 0.4 * (c / (2 * c_max) if c_max else 0) + 0.2 * (1 - a)


def begins_event(frames: Sequence[Sequence[Token]], index: int) -> bool:
    """Whether a frame resembles the one before it less than the pairs before and after resemble each other."""
    if index < 2 or index + 1 >= len(frames):
        return False
    before, here, after = (_frame_cosine(frames[at - 1], frames[at]) for at in (index - 1, index, index + 1))
    return before > here < after


def _frame_cosine(frame: Sequence[Token], other: Sequence[Token]) -> float:
    means = [[fmean(axis) for axis in zip(*(token.vector for token in one), strict=True)] for one in (frame, other)]
    return cosine(*means)


def likeness(one: Sequence[Token], other: Sequence[Token], k: int) -> float:
    return fmean(sorted((cosine(a.vector, b.vector) for a in one for b in other), reverse=True)[:k])


def halve(tokens: Sequence[Token]) -> list[Token]:
    """Rounds of matching until half of the tokens, rounded up, are left."""
    now, n_left = list(tokens), (len(tokens) + 1) // 2
    while len(now) > n_left:
        sources, targets = now[::2], now[1::2]
        matches = []
        for source in sources:
            similarity = [cosine(source.vector, target.vector) for target in targets]
            best = max(range(len(targets)), key=lambda index: similarity[index])
            matches.append((similarity[best], source, targets[best]))
        matches.sort(key=lambda match: -match[0])  # stable: of equal ones the older first
        matches = matches[: min((len(sources) + 1) // 2, len(now) - n_left)]
        merged = []
        for target in targets:
            group = [source for _, source, match in matches if match is target]
            merged.append(_merge(sorted([*group, target], key=lambda t: t.number)) if group else target)
        gone = [source for _, source, _ in matches]
        now = sorted([*(s for s in sources if all(s is not one for one in gone)), *merged], key=lambda t: t.number)
    return now


def _merge(group: Sequence[Token]) -> Token:
    time = sum(token.count * token.seconds for token in group) / sum(token.count for token in group)
    nearest = min(reversed(group), key=lambda token: abs(token.seconds - time))
    return mean_token(group, nearest)


def forest_after(
    intervals: Sequence[Sequence[Sequence[Token]]], *, budget: int, n_words: int, recent: int, k: int
) -> list[Token]:
    """What is held after some intervals of frames."""
    frames: list[Sequence[Token]] = []
    nodes: list[Node] = []
    n_left = 0
    for interval in intervals:
        frames += interval
        while n_left < len(frames) - recent:
            leaving = frames[n_left]
            if not nodes or begins_event(frames, n_left):
                nodes.append(Node(leaving[0].seconds, leaving[0].seconds, 0, list(leaving)))
            else:
                nodes[-1].tokens += leaving
                nodes[-1].end = leaving[0].seconds
            n_left += 1
        window = [token for frame in frames[n_left:] for token in frame]
        nodes = [node for node in nodes if node.tokens]
        while n_rows([*(t for node in nodes for t in node.tokens), *window], n_words) > budget:
            if not _merge_once(nodes, frames[-1][0].seconds, k):
                held = [*(t for node in nodes for t in node.tokens), *window]
                stays = first_that_fit(held[::-1], n_words, budget)
                nodes[0].tokens = [token for token in nodes[0].tokens if token in stays]
                break
    return [*(token for node in nodes for token in node.tokens), *window]


def _merge_once(nodes: list[Node], now: float, k: int) -> bool:
    if len(nodes) < 2:
        if not nodes or len(nodes[0].tokens) < 2:
            return False
        nodes[0].tokens = halve(nodes[0].tokens)
        nodes[0].merges += 1
        return True
    c_max = max(node.merges for node in nodes)
    oldest = now - (nodes[0].start + nodes[0].end) / 2
    costs = []
    for one, other in pairwise(nodes):
        age = fmean(now - (node.start + node.end) / 2 for node in (one, other))
        s = likeness(one.tokens, other.tokens, k)
        costs.append(penalty(s, one.merges + other.merges, c_max, age / oldest))
    first = costs.index(min(costs))
    one, other = nodes[first], nodes.pop(first + 1)
    nodes[first] = Node(one.start, other.end, one.merges + other.merges + 1, halve([*one.tokens, *other.tokens]))
    return True
