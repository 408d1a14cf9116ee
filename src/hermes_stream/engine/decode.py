"""From logits to tokens to text.

Shape letters: V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hermes_stream.types import Query

# Below it nothing but the largest logit is ever drawn, and what is divided by it overflows.
_COLDEST = 1e-5


class Sampler:
    """Picks the next token of one answer: greedy at temperature 0, otherwise drawn with the query's own seed."""

    def __init__(self, query: Query, device: torch.device) -> None:
        self._is_greedy = query.temperature < _COLDEST
        self._processors = LogitsProcessorList()
        if query.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(query.repetition_penalty))
        if not self._is_greedy:
            self._processors.append(TemperatureLogitsWarper(query.temperature))
            if query.top_k:
                self._processors.append(TopKLogitsWarper(query.top_k))
            if query.top_p < 1:
                self._processors.append(TopPLogitsWarper(query.top_p))
        self._generator = torch.Generator(device=device).manual_seed(query.seed)
        self._chosen: list[torch.Tensor] = []

    @property
    def takes_largest(self) -> bool:
        """Whether the next token is the one with the largest logit, whatever came before it."""
        return self._is_greedy and not self._processors

    def choose(self, logits_V: torch.Tensor) -> torch.Tensor:
        """The next token id, a scalar on the logits' device: nothing is read back here.

        The repetition penalty sees the answer's own tokens only.
        """
        # To draw from numbers that are none would end all work on an accelerator; who reads the token knows of them.
        scores = logits_V[None].float().nan_to_num()
        if self._processors:
            nothing = torch.empty(0, dtype=torch.int64, device=scores.device)
            scores = self._processors(torch.stack(self._chosen)[None] if self._chosen else nothing[None], scores)
        if self._is_greedy:
            token = scores[0].argmax()
        else:
            token = torch.multinomial(scores.softmax(-1)[0], 1, generator=self._generator)[0]
        if self._processors:
            self._chosen.append(token)
        return token


class TextStream:
    """Token ids to text, piece by piece; characters split over tokens come out whole."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self.text = ""

    def push(self, token_id: int) -> str:
        """The text that became complete with this token; often one word, sometimes nothing."""
        self._ids.append(token_id)
        piece: str = self._stream.step(self._tokenizer.backend_tokenizer, token_id) or ""
        self.text += piece
        return piece

    def finish(self) -> str:
        """What is left at the end: bytes that never became a character, shown as replacement characters."""
        whole: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        rest = whole[len(self.text) :] if whole.startswith(self.text) else ""
        self.text += rest
        return rest
