"""Tokens that stand for several rows of a bank, and the halving of a list of them by bipartite matching.

Shape letters: N tokens in time order, E model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hermes_stream.memory.plan import Fold
from hermes_stream.memory.view import FeatureView
from hermes_stream.policies.similarity import cosines


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """In time order, which is that of their anchors.

    embeddings_NE: float32 means. counts, seconds: how many tokens of the stream each stands for, and when.
    members: rows of the bank that each is made of. anchors: the member whose place each takes.
    """

    embeddings_NE: torch.Tensor
    counts: tuple[int, ...]
    seconds: tuple[float, ...]
    members: tuple[tuple[int, ...], ...]
    anchors: tuple[int, ...]

    @staticmethod
    def of_rows(bank: FeatureView, rows_N: torch.Tensor) -> Tokens:
        """Rows of a bank as they are; sorted."""
        rows = rows_N.tolist()
        return Tokens(
            bank.embeddings_NE[rows_N].float(),
            tuple(bank.count_N[rows_N].tolist()),
            tuple(bank.seconds_N[rows_N].tolist()),
            tuple((row,) for row in rows),
            tuple(rows),
        )

    def __len__(self) -> int:
        return len(self.anchors)

    def join(self, newer: Tokens) -> Tokens:
        """These tokens, then newer ones."""
        return Tokens(
            torch.cat((self.embeddings_NE, newer.embeddings_NE)),
            self.counts + newer.counts,
            self.seconds + newer.seconds,
            self.members + newer.members,
            self.anchors + newer.anchors,
        )

    def merge(self, groups: Sequence[Sequence[int]]) -> Tokens:
        """One token for each group of indices: the count-weighted mean, placed at the member nearest its mean time.

        Of two as near the newer. Every token is in one group.
        """
        merged = sorted((self._anchor(group), tuple(group)) for group in groups)
        counts = tuple(sum(self.counts[index] for index in group) for _, group in merged)
        size_G = torch.tensor([len(group) for _, group in merged], device=self.embeddings_NE.device)
        flat_N = torch.tensor([index for _, group in merged for index in group], device=size_G.device)
        count_N = torch.tensor(self.counts, device=size_G.device)[flat_N]
        total_N = torch.tensor(counts, device=size_G.device).repeat_interleave(size_G)
        weighted_NE = self.embeddings_NE[flat_N] * (count_N / total_N)[:, None]
        return Tokens(
            torch.segment_reduce(weighted_NE, "sum", lengths=size_G, axis=0),
            counts,
            tuple(self.seconds[anchor] for anchor, _ in merged),
            tuple(tuple(sorted(row for index in group for row in self.members[index])) for _, group in merged),
            tuple(self.anchors[anchor] for anchor, _ in merged),
        )

    def _anchor(self, group: Sequence[int]) -> int:
        total = sum(self.counts[index] for index in group)
        mean = sum(self.counts[index] * self.seconds[index] for index in group) / total
        return min(group, key=lambda index: (abs(self.seconds[index] - mean), -index))

    def folds(self) -> tuple[list[int], list[Fold]]:
        """Rows that stay as they are, and folds of the others."""
        parts = list(zip(self.members, self.anchors, strict=True))
        keep = [anchor for rows, anchor in parts if len(rows) == 1]
        device = self.embeddings_NE.device
        folds = [
            Fold(torch.tensor(rows, device=device), weight="count", anchor=anchor)
            for rows, anchor in parts
            if len(rows) > 1
        ]
        return keep, folds


def halve(tokens: Tokens) -> Tokens:
    """Half as many tokens, rounded up, by rounds of bipartite matching.

    A round splits the tokens by alternation, matches each of the first set to the most similar of the second, and
    merges the best half of these matches (rounded up), or as many as are still to go. Of equal similarities the older
    token goes first. Source: the rule of StreamForest, with the matching of token merging (ToMe).
    """
    n_left = (len(tokens) + 1) // 2
    while len(tokens) > n_left:
        similarity, partner = cosines(tokens.embeddings_NE[::2], tokens.embeddings_NE[1::2]).max(dim=1)
        n_merges = min((len(partner) + 1) // 2, len(tokens) - n_left)
        merges = similarity.argsort(descending=True, stable=True)[:n_merges].tolist()
        groups = {index: [index] for index in range(len(tokens))}
        partners = partner.tolist()
        for source in merges:
            groups[2 * partners[source] + 1] += groups.pop(2 * source)
        tokens = tokens.merge([sorted(group) for group in groups.values()])
    return tokens
