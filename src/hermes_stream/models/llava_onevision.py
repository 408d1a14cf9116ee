"""LLaVA-OneVision: SigLIP frames pooled 2x2, a plain Qwen2 text model, positions in one dimension.

Shape letters: T tokens, E model width, F frames, P tokens of one frame, L rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hermes_stream.models.adapter import Batch, ModelFacts, StreamDefaults
from hermes_stream.models.attention_seam import ModelRope, attach, run_text_model
from hermes_stream.models.preprocess import FixedSizePreprocessor
from hermes_stream.types import Frame, VisualTokens

# HERMES, released code, spaces as there.
PREFIX = "<|im_start|>system \nYou are a helpful assistant.<|im_end|><|im_start|>user "
QUESTION = "\n{text}<|im_end|><|im_start|>assistant\n"
# HERMES, section 5 of the paper: 0.5 frames per second, 16 frames a chunk, 6,000 tokens a layer.
DEFAULTS = StreamDefaults(fps=0.5, chunk_frames=16, budget_tokens=6000)


class LlavaOnevisionAdapter:
    """One LLaVA-OneVision checkpoint behind the `Adapter` protocol.

    The newline embedding, which the stock model puts after a whole video, opens the tail of each question: a stream
    has no end, and so nothing of it stays in the memory.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        preprocessor_settings: Mapping[str, Any],
        *,
        name: str,
        stop_token_ids: frozenset[int],
        defaults: StreamDefaults = DEFAULTS,
    ) -> None:
        text_config = model.config.text_config
        attach(model, text_config)
        self._model = model
        self._text_model = model.model.language_model
        self._preprocess = FixedSizePreprocessor.from_settings(preprocessor_settings)
        self.tokenizer = tokenizer
        self.stop_token_ids = stop_token_ids
        self.defaults = defaults
        self.rope = ModelRope(self._text_model.rotary_emb, n_axes=1)
        vision = model.config.vision_config
        self._grid = math.ceil(vision.image_size // vision.patch_size / 2)
        weight = model.lm_head.weight
        self.facts = ModelFacts(
            name=name,
            family="llava-onevision",
            n_layers=text_config.num_hidden_layers,
            n_kv_heads=text_config.num_key_value_heads,
            head_dim=self._text_model.layers[0].self_attn.head_dim,
            n_axes=1,
            max_positions=text_config.max_position_embeddings,
            tokens_per_frame=self._grid**2,
            prefix_tokens=len(self._ids(PREFIX)),
            n_parameters=model.num_parameters(),
            dtype=weight.dtype,
            device=weight.device,
        )

    def prefix(self) -> torch.Tensor:
        return self._embed_text(PREFIX)

    def embed(self, frames: Sequence[Frame]) -> VisualTokens:
        pixels = self._preprocess(frames).to(self.facts.device, self.facts.dtype)
        # One newline per call comes last; it belongs to the question (see the class).
        features_TE = self._model.get_video_features(pixels[None], return_dict=True).pooler_output[0, :-1]
        n_frames, per_frame = len(frames), self.facts.tokens_per_frame
        cells_P = torch.arange(per_frame)
        times = torch.tensor([frame.pts_seconds for frame in frames], dtype=torch.float64)
        return VisualTokens(
            embeddings_NE=features_TE,
            positions_RN=torch.arange(n_frames * per_frame)[None],
            n_positions=n_frames * per_frame,
            frame_N=torch.arange(n_frames).repeat_interleave(per_frame),
            row_N=(cells_P // self._grid).repeat(n_frames),
            column_N=(cells_P % self._grid).repeat(n_frames),
            times_seconds_N=times.repeat_interleave(per_frame),
            n_frames=n_frames,
            n_grids=n_frames,
        )

    def question(self, text: str, *, after_video: bool) -> torch.Tensor:
        text_TE = self._embed_text(QUESTION.format(text=text))
        return torch.cat((self._model.model.image_newline[None].to(text_TE), text_TE)) if after_video else text_TE

    def guidance(self, text: str) -> torch.Tensor:
        return self._embed_text(text)

    def token(self, token_id: int) -> torch.Tensor:
        return self._embed_ids([token_id])

    def run(self, batch: Batch) -> torch.Tensor:
        return run_text_model(self._text_model, batch.embeddings_TE, batch, n_axes=1)

    def logits(self, hidden_LE: torch.Tensor) -> torch.Tensor:
        logits_LV: torch.Tensor = self._model.lm_head(hidden_LE)
        return logits_LV

    def _embed_text(self, text: str) -> torch.Tensor:
        return self._embed_ids(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _embed_ids(self, ids: Sequence[int]) -> torch.Tensor:
        embeddings_TE: torch.Tensor = self._text_model.embed_tokens(torch.tensor(ids, device=self.facts.device))
        return embeddings_TE
