"""A commentary without a memory: the whole text and all frames through the stock attention again for every token.

Written from the contract of a narrated stream: opening, previous text, then for each step a user's turn and a reply.
Shape letters: N tokens, E model width, R position axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from hermes_stream.models.adapter import Adapter
from hermes_stream.types import Frame


@dataclass
class WholeCommentary:
    """Grows text by text and round by round; `next_token` runs everything again."""

    adapter: Adapter
    embeddings: list[torch.Tensor] = field(default_factory=list)
    positions: list[torch.Tensor] = field(default_factory=list)
    is_visual: list[torch.Tensor] = field(default_factory=list)
    taps: list[tuple[torch.Tensor, ...]] = field(default_factory=list)
    end: int = 0

    def text(self, text: str) -> None:
        self.ids(list(self.adapter.token_ids(text)) if text else [])

    def ids(self, ids: Sequence[int]) -> None:
        self.embeddings.append(self.adapter.tokens(torch.tensor(list(ids), dtype=torch.int64)))
        self.positions.append(torch.arange(self.end, self.end + len(ids)).expand(self.adapter.facts.n_axes, -1))
        self.is_visual.append(torch.zeros(len(ids), dtype=torch.bool))
        self.end += len(ids)

    def frames(self, frames: Sequence[Frame]) -> None:
        shown = list(frames)
        while len(shown) % self.adapter.facts.frames_per_grid:
            shown.append(shown[-1])
        tokens = self.adapter.embed(shown, since_seconds=0.0)
        n = tokens.embeddings_NE.shape[0]
        self.embeddings.append(tokens.embeddings_NE)
        self.is_visual.append(torch.ones(n, dtype=torch.bool) if tokens.is_text_N is None else ~tokens.is_text_N)
        self.taps.append(tokens.deepstack)
        smallest_R1 = tokens.positions_RN.min(dim=1, keepdim=True).values
        self.positions.append(self.end + tokens.positions_RN - smallest_R1)
        self.end = int(self.positions[-1].max()) + 1

    def next_token(self) -> int:
        deepstack = None
        if self.taps and self.adapter.facts.n_taps:
            deepstack = torch.cat(self.is_visual), [torch.cat(tap) for tap in zip(*self.taps, strict=True)]
        embeddings_NE, position_RN = torch.cat(self.embeddings), torch.cat(self.positions, dim=1)
        hidden_NE, _ = self.adapter.run_stock(embeddings_NE, position_RN, deepstack, want_attentions=False)
        return int(self.adapter.logits(hidden_NE[-1:])[0].argmax())

    def reply(self, n_at_most: int, closing: str) -> list[int]:
        """Greedy tokens up to one that ends the turn, which is written as `closing`."""
        said: list[int] = []
        while len(said) < n_at_most:
            token = self.next_token()
            if token in self.adapter.stop_token_ids:
                break
            said.append(token)
            self.ids([token])
        if not said:
            self.text(self.adapter.commentary.silence)
        self.text(closing)
        return said


@torch.inference_mode()
def narrated_whole(
    adapter: Adapter, rounds: Sequence[tuple[float, Sequence[Frame]]], instruction: str, previous: str, n_tokens: int
) -> list[list[int]]:
    """What is said in each round; rounds: when each begins, one second long, and its frames."""
    prompts, whole = adapter.commentary, WholeCommentary(adapter)
    whole.text(prompts.opening(instruction))
    whole.text(prompts.previous_open)
    for word in previous.split():
        whole.text(prompts.spoken(word))
    whole.text(prompts.previous_close)
    replies = []
    for index, (start, frames) in enumerate(rounds):
        if index:
            whole.text(prompts.turn_end)
        whole.text(prompts.before_frames(start, start + 1.0))
        whole.frames(frames)
        whole.text(prompts.after_frames())
        replies.append(whole.reply(n_tokens, prompts.turn_close))
    return replies
