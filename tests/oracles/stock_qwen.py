"""What the stock Qwen-VL models do with a whole clip and a question, at positions counted out token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from hermes_stream.types import Frame


class StockQwen:
    """Whole clip in one forward. Subclasses lay out tokens and positions of their family."""

    prefix = ""
    question = ""
    takes_seconds = False
    # When the stream began; None is with the first frame given.
    since_seconds: float | None = None

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager"
        ).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def layout(
        self, frames: Sequence[Frame], n_rows: int, n_columns: int
    ) -> tuple[list[int], list[tuple[int, int, int]]]:
        """Token ids of prefix and video, and the position of each."""
        raise NotImplementedError

    def inputs(
        self, frames: Sequence[Frame], patches: torch.Tensor, grids: torch.Tensor, question: str
    ) -> dict[str, torch.Tensor]:
        n_rows, n_columns = int(grids[0, 1]) // 2, int(grids[0, 2]) // 2
        ids, positions = self.layout(frames, n_rows, n_columns)
        next_position = 1 + max(max(position) for position in positions)
        question_ids = self.ids(self.question.format(text=question))
        positions += [(next_position + i,) * 3 for i in range(len(question_ids))]
        ids += question_ids
        clip_grid = torch.tensor([[len(grids), int(grids[0, 1]), int(grids[0, 2])]])
        return {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids), dtype=torch.int64),
            "position_ids": torch.tensor(positions).T[:, None],
            "pixel_values_videos": patches.to(self.model.dtype),
            "video_grid_thw": clip_grid,
            "mm_token_type_ids": torch.tensor([[2 * (i == self.model.config.video_token_id) for i in ids]]),
        }

    @torch.no_grad()
    def logits(
        self, frames: Sequence[Frame], patches: torch.Tensor, grids: torch.Tensor, question: str
    ) -> torch.Tensor:
        return self.model(**self.inputs(frames, patches, grids, question)).logits[0, -1]

    @torch.no_grad()
    def masked_logits(
        self,
        frames: Sequence[Frame],
        patches: torch.Tensor,
        grids: torch.Tensor,
        question: str,
        visible_TT: torch.Tensor,
        prefix_again: Sequence[Sequence[int]],
    ) -> torch.Tensor:
        """As `logits`, with the prefix a second time behind itself, where each token sees only what the mask allows.

        prefix_again: positions of the second one.
        """
        inputs, n = self.inputs(frames, patches, grids, question), len(prefix_again)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            inputs[name] = torch.cat((inputs[name][:, :n], inputs[name]), dim=1)
        again_R1N = torch.tensor(prefix_again).T[:, None]
        position_R1T = inputs["position_ids"]
        inputs["position_ids"] = torch.cat((position_R1T[..., :n], again_R1N, position_R1T[..., n:]), dim=-1)
        mask_TT = torch.zeros(visible_TT.shape, dtype=self.model.dtype).masked_fill(~visible_TT, float("-inf"))
        return self.model(**{**inputs, "attention_mask": mask_TT[None, None]}).logits[0, -1]

    @torch.no_grad()
    def own_logits(
        self, frames: Sequence[Frame], patches: torch.Tensor, grids: torch.Tensor, question: str
    ) -> torch.Tensor:
        """At positions that the stock model finds by itself. Frames must be evenly spaced in time."""
        return self.model(**self._own_inputs(frames, patches, grids, question)).logits[0, -1]

    @torch.no_grad()
    def own_greedy(
        self, frames: Sequence[Frame], patches: torch.Tensor, grids: torch.Tensor, question: str, n: int
    ) -> list[int]:
        """The stock model's `generate`."""
        inputs = self._own_inputs(frames, patches, grids, question)
        ids = self.model.generate(**inputs, max_new_tokens=n, min_new_tokens=n, do_sample=False)
        return ids[0, inputs["input_ids"].shape[1] :].tolist()

    def _own_inputs(
        self, frames: Sequence[Frame], patches: torch.Tensor, grids: torch.Tensor, question: str
    ) -> dict[str, torch.Tensor]:
        inputs = self.inputs(frames, patches, grids, question)
        del inputs["position_ids"]
        self.model.model.rope_deltas = None
        if self.takes_seconds:
            seconds_per_grid = 2 * (frames[1].pts_seconds - frames[0].pts_seconds)
            inputs["second_per_grid_ts"] = torch.tensor([seconds_per_grid])
        return inputs

    @torch.no_grad()
    def greedy(
        self, frames: Sequence[Frame], patches: torch.Tensor, grids: torch.Tensor, question: str, n: int
    ) -> list[int]:
        """Whole forward after whole forward: `generate` recomputes positions by a rule that changed upstream."""
        inputs = self.inputs(frames, patches, grids, question)
        new: list[int] = []
        while len(new) < n:
            token = int(self.model(**inputs).logits[0, -1].argmax())
            new.append(token)
            following = inputs["position_ids"][:, :, -1:] + 1
            inputs["input_ids"] = torch.cat((inputs["input_ids"], torch.tensor([[token]])), dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            inputs["position_ids"] = torch.cat((inputs["position_ids"], following), dim=2)
            inputs["mm_token_type_ids"] = torch.cat((inputs["mm_token_type_ids"], torch.tensor([[0]])), dim=1)
        return new


class StockQwen2_5VL(StockQwen):  # noqa: N801
    takes_seconds = True
    prefix = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    question = "<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"

    def layout(
        self, frames: Sequence[Frame], n_rows: int, n_columns: int
    ) -> tuple[list[int], list[tuple[int, int, int]]]:
        ids = self.ids(self.prefix)
        positions = [(i, i, i) for i in range(len(ids))]
        start = len(ids)
        per_second = self.model.config.vision_config.tokens_per_second
        for first in range(0, len(frames), 2):
            time = math.floor((frames[first].pts_seconds - frames[0].pts_seconds) * per_second)
            for row in range(n_rows):
                for column in range(n_columns):
                    ids.append(self.model.config.video_token_id)
                    positions.append((start + time, start + row, start + column))
        return ids, positions


class StockQwen3VL(StockQwen):
    prefix = "<|im_start|>user\n"
    question = "{text}<|im_end|>\n<|im_start|>assistant\n"

    def layout(
        self, frames: Sequence[Frame], n_rows: int, n_columns: int
    ) -> tuple[list[int], list[tuple[int, int, int]]]:
        ids = self.ids(self.prefix)
        positions = [(i, i, i) for i in range(len(ids))]
        position = len(ids)
        for first in range(0, len(frames), 2):
            since = frames[0].pts_seconds if self.since_seconds is None else self.since_seconds
            seconds = (frames[first].pts_seconds + frames[first + 1].pts_seconds) / 2 - since
            for token in self.ids(f"<{seconds:.1f} seconds><|vision_start|>"):
                ids.append(token)
                positions.append((position,) * 3)
                position += 1
            for row in range(n_rows):
                for column in range(n_columns):
                    ids.append(self.model.config.video_token_id)
                    positions.append((position, position + row, position + column))
            position += max(n_rows, n_columns)
            for token in self.ids("<|vision_end|>"):
                ids.append(token)
                positions.append((position,) * 3)
                position += 1
        return ids, positions
