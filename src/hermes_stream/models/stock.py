"""The same weights through transformers alone: what this project is compared with.

Shape letters: T tokens, E model width.
"""

from __future__ import annotations

import copy
import inspect
import time
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from transformers import DynamicCache

_ATTENTION = "sdpa"


@dataclass(frozen=True, slots=True)
class StockAnswer:
    """Greedy tokens, and the seconds at which each came, since the question was asked."""

    token_ids: tuple[int, ...]
    seconds: tuple[float, ...]


class StockModel:
    """A model object of its own class, with transformers' own attention and caches; it shares the weights it is given.

    Methods run without gradients and greedily, for exactly as many tokens as are asked for.
    """

    def __init__(self, model: Any) -> None:
        """model: may belong to an adapter, which changes its attention for life; the copy is not touched by that."""
        kept = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
        self._model = copy.deepcopy(model, memo=kept)
        self._model.set_attn_implementation(_ATTENTION)

    @torch.inference_mode()
    def generate(self, prompt_TE: torch.Tensor, n_tokens: int) -> tuple[StockAnswer, StockCache]:
        """`transformers.generate` on a whole prompt; the cache that it leaves holds the prompt."""
        clock = _Clock()
        output = self._model.generate(
            inputs_embeds=prompt_TE[None],
            attention_mask=torch.ones(1, prompt_TE.shape[0], dtype=torch.int64, device=prompt_TE.device),
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            do_sample=False,
            pad_token_id=0,
            streamer=clock,
            return_dict_in_generate=True,
        )
        answer = StockAnswer(tuple(output.sequences[0].tolist()), tuple(clock.seconds))
        cache = StockCache(self._model, output[_cache_name(self._model)])
        cache.crop(prompt_TE.shape[0])
        return answer, cache

    def cache(self) -> StockCache:
        """An empty cache."""
        return StockCache(self._model, DynamicCache(config=self._model.config.text_config))


class StockCache:
    """A `DynamicCache` that grows with what is fed to it."""

    def __init__(self, model: Any, cache: Any) -> None:
        self._model, self._cache = model, cache

    @property
    def n_rows(self) -> int:
        return int(self._cache.get_seq_length())

    @property
    def n_bytes(self) -> int:
        """Of keys and values."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._cache.layers)

    @torch.inference_mode()
    def extend(self, embeddings_TE: torch.Tensor) -> torch.Tensor:
        """Feed tokens; returns the id that follows the last one, int64 `[1]`, on the device."""
        held = {_cache_name(self._model): self._cache}
        output = self._model(inputs_embeds=embeddings_TE[None], use_cache=True, logits_to_keep=1, **held)
        return output.logits[0, -1:].argmax(dim=-1)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def ask(self, question_TE: torch.Tensor, n_tokens: int) -> StockAnswer:
        """Answer on top of what is held, and drop question and answer again."""
        n_before, start = self.n_rows, time.perf_counter()
        token_1 = self.extend(question_TE)
        token_ids, seconds = [int(token_1)], [time.perf_counter() - start]
        while len(token_ids) < n_tokens:
            token_1 = self.extend(self._model.get_input_embeddings()(token_1))
            token_ids.append(int(token_1))
            seconds.append(time.perf_counter() - start)
        self.crop(n_before)
        return StockAnswer(tuple(token_ids), tuple(seconds))

    def crop(self, n_rows: int) -> None:
        """Forget all rows but the first."""
        n_more = self.n_rows - n_rows
        if n_more > 0:
            # A negative number is what all versions take: as many rows off the end.
            self._cache.crop(-n_more)


def _cache_name(model: Any) -> str:
    """What transformers calls a cache, given and returned: `past_key_values` until 5.23."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


class _Clock:
    """A streamer that notes when tokens come; the prompt, which comes first, is none."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = time.perf_counter()
        self._has_prompt = False

    def put(self, value: torch.Tensor) -> None:  # noqa: ARG002
        if self._has_prompt:
            self.seconds.append(time.perf_counter() - self._start)
        self._has_prompt = True

    def end(self) -> None:
        pass
