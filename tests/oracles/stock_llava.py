"""What the stock LLaVA-OneVision does with a whole clip and a question, through its own forward and generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

PREFIX = "<|im_start|>system \nYou are a helpful assistant.<|im_end|><|im_start|>user "


class StockLlava:
    """A model object of its own: the attention name lives on the shared config of the other one."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32, attention: str = "eager") -> None:
        self.model: Any = LlavaOnevisionForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention
        ).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def inputs(self, pixels: torch.Tensor, question: str) -> dict[str, torch.Tensor]:
        n_video = pixels.shape[0] * 9 + 1
        ids = (
            self.ids(PREFIX)
            + [self.model.config.video_token_id] * n_video
            + self.ids(f"\n{question}<|im_end|><|im_start|>assistant\n")
        )
        input_ids = torch.tensor([ids])
        return {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "pixel_values_videos": pixels[None].to(self.model.dtype),
        }

    @torch.no_grad()
    def logits(self, pixels: torch.Tensor, question: str) -> torch.Tensor:
        return self.model(**self.inputs(pixels, question)).logits[0, -1]

    @torch.no_grad()
    def generate(self, pixels: torch.Tensor, question: str, max_new_tokens: int) -> list[int]:
        inputs = self.inputs(pixels, question)
        out = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        return out[0, inputs["input_ids"].shape[1] :].tolist()

    @torch.no_grad()
    def embeddings(self, pixels: torch.Tensor, *texts: str) -> list[torch.Tensor]:
        """Prefix, frames without the newline, newline, then each text: `[T, E]` each."""
        embed = self.model.get_input_embeddings()
        video = self.model.get_video_features(pixels[None].to(self.model.dtype), return_dict=True).pooler_output[0]
        # Later versions of transformers put the newline behind the video, earlier ones leave it to the wrapper.
        newline = self.model.model.image_newline[None]
        parts = [embed(torch.tensor(self.ids(PREFIX))), video[: pixels.shape[0] * 9], newline]
        return parts + [embed(torch.tensor(self.ids(text))) for text in texts]

    @torch.no_grad()
    def masked_logits(
        self, embeddings_TE: torch.Tensor, visible_LTT: torch.Tensor, position_T: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits of the last token when each layer's queries see only what its mask allows; positions 0..T-1 if none
        are given.
        """
        text = self.model.model.language_model
        hidden = embeddings_TE[None]
        positions = (torch.arange(embeddings_TE.shape[0]) if position_T is None else position_T)[None]
        rotary = text.rotary_emb(hidden, positions)
        for layer, visible_TT in zip(text.layers, visible_LTT, strict=True):
            mask = torch.zeros(visible_TT.shape, dtype=hidden.dtype).masked_fill(~visible_TT, float("-inf"))
            hidden = layer(hidden, attention_mask=mask[None, None], position_embeddings=rotary)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.model.lm_head(text.norm(hidden))[0, -1]

    @torch.no_grad()
    def attentions(self, embeddings_TE: torch.Tensor) -> list[torch.Tensor]:
        """Eager attention weights `[H, T, T]` of every layer over one causal forward."""
        out = self.model.model.language_model(
            inputs_embeds=embeddings_TE[None], use_cache=False, output_attentions=True
        )
        return [weights[0] for weights in out.attentions]
