"""Commentary without a cache: every second the window's frames and turns are encoded again from nothing.

The source's baseline of a recomputed window. Turns of the window keep their words, older words are the previous text,
as in a chunk of training; replies are greedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from hermes_stream.engine.commentary.narration import Remark
from hermes_stream.models.load import load_checkpoint
from hermes_stream.train.commentary.inputs import frame_inputs
from hermes_stream.train.commentary.layout import ChunkLayout, TextLimits, Words
from hermes_stream.train.commentary.records import Record
from hermes_stream.types import Frame, TimedWord

# A word is said in its step; when exactly makes no difference.
_SAID_AT = 0.5


class ReencodedWindow:
    """Speaks about each second with its last `seconds` before its eyes."""

    def __init__(
        self, name: str, instruction: str | None, *, seconds: int, limits: TextLimits, most_tokens: int
    ) -> None:
        checkpoint = load_checkpoint(name)
        self._model, self._tokenizer = checkpoint.model, checkpoint.tokenizer
        words = Words(self._tokenizer)
        self._frames = frame_inputs(self._model.config, checkpoint.preprocessor, words)
        self._prompts = self._frames.prompts.with_settings(checkpoint.defaults.get("commentary", {}))
        self._layout = ChunkLayout(self._prompts, words, limits, self._frames.n_axes)
        self._query = self._prompts.default_instruction if instruction is None else instruction
        self._seconds, self._most_tokens = seconds, most_tokens
        self._ending = (*words(self._prompts.silence), *words(self._prompts.turn_close))

    def watch(self, steps: Iterator[tuple[int, Sequence[Frame]]]) -> Iterator[Remark]:
        """steps: seconds of the stream and their frames, none left out."""
        shown: list[Sequence[Frame]] = []
        said: list[TimedWord] = []
        for step, frames in steps:
            shown = [*shown, frames][-self._seconds :]
            text = self._speak(step, shown, said)
            said += [TimedWord(step + _SAID_AT, step + _SAID_AT, word) for word in text.split()]
            yield Remark(float(step), step + 1.0, text)

    @torch.inference_mode()
    def _speak(self, step: int, shown: Sequence[Sequence[Frame]], said: Sequence[TimedWord]) -> str:
        start = step + 1 - len(shown)
        record = Record(
            "",
            float(start),
            step + 1.0,
            tuple(word for word in said if word.end_seconds > start),
            query=self._query,
            previous=" ".join(word.text for word in said if word.end_seconds <= start),
        )
        spans, vision = self._frames.rounds(shown)
        chunk = self._layout(record, spans)
        # The newest reply is still to be said.
        n_given = chunk.ids_T.numel() - len(self._ending)
        position_RT = chunk.position_RT[:, :n_given]
        inputs = {
            "input_ids": chunk.ids_T[None, :n_given],
            "position_ids": position_RT[:, None] if len(position_RT) > 1 else position_RT,
            **vision,
        }
        return self._prompts.words_of(self._tokenizer.decode(self._reply(inputs)))

    def _reply(self, inputs: dict[str, torch.Tensor]) -> list[int]:
        output = self._model(**self._frames.model_inputs(self._model, inputs), use_cache=True, logits_to_keep=1)
        position, reply = inputs["position_ids"].amax() + 1, list[int]()
        for _ in range(self._most_tokens):
            token = int(output.logits[0, -1].argmax())
            if token == self._ending[-1]:
                break
            reply.append(token)
            output = self._step(token, position, output.cache)
            position = position + 1
        return reply

    def _step(self, token: int, position: torch.Tensor, cache: Any) -> Any:
        n_axes = self._frames.n_axes
        position_ids = position.expand(n_axes, 1, 1) if n_axes > 1 else position.expand(1, 1)
        return self._model(input_ids=torch.tensor([[token]]), position_ids=position_ids, cache=cache, use_cache=True)
