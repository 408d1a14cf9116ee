"""LLaVA-OneVision: SigLIP frames pooled 2x2, a plain Qwen2 text model, positions in one dimension.

Shape letters: T tokens, E model width, P tokens of one frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch

from hermes_stream.errors import ModelError
from hermes_stream.memory.upload import upload
from hermes_stream.models.adapter import Clip, StreamDefaults
from hermes_stream.models.checkpoint_adapter import Checkpoint, CheckpointAdapter, Prompts
from hermes_stream.models.commentary import CommentaryPrompts
from hermes_stream.models.flops import siglip_flops
from hermes_stream.models.preprocess import FixedSizePreprocessor
from hermes_stream.models.saliency import attention_received, siglip_layers
from hermes_stream.types import Frame, Turn, VisualTokens

_QUESTION = "\n{text}<|im_end|><|im_start|>assistant\n"
# HERMES, released code, spaces as there; earlier turns as in the checkpoints' chat template, which has a space after
# the role of every message but the one that is to be written.
PROMPTS = Prompts(
    prefix="<|im_start|>system \nYou are a helpful assistant.<|im_end|><|im_start|>user ",
    question=_QUESTION,
    question_first=_QUESTION,
    turn="{question}<|im_end|><|im_start|>assistant \n{answer}<|im_end|><|im_start|>user \n",
)

# The same turns; the learned newline, which ends a whole video, has no place where videos never end.
COMMENTARY = CommentaryPrompts(
    system="<|im_start|>system \nYou are a helpful assistant.<|im_end|>",
    instruction="<|im_start|>user \n{text}<|im_end|>",
    previous_open="<|im_start|>previous text \n",
    previous_close="<|im_end|>",
    user_open="<|im_start|>user ",
    time="",
    vision_open="",
    vision_close="",
    question="\n{text}",
    user_close="<|im_end|>",
    assistant_open="<|im_start|>assistant\n",
    turn_end="",
)


class LlavaOnevisionAdapter(CheckpointAdapter):
    """One LLaVA-OneVision checkpoint behind the `Adapter` protocol.

    The newline embedding, which the stock model puts after a whole video, opens the tail of each question: a stream
    has no end, and so nothing of it stays in the memory.
    """

    # HERMES, section 5 of the paper: 0.5 frames per second, 16 frames a chunk, 6,000 tokens a layer.
    family_defaults: ClassVar[StreamDefaults] = StreamDefaults(fps=0.5, chunk_frames=16, budget_tokens=6000)

    def __init__(self, checkpoint: Checkpoint) -> None:
        vision = checkpoint.model.config.vision_config
        self._grid = math.ceil(vision.image_size // vision.patch_size / 2)
        self._preprocess = FixedSizePreprocessor.from_settings(checkpoint.preprocessor)
        if (size := (self._preprocess.height, self._preprocess.width)) != (vision.image_size, vision.image_size):
            raise ModelError(
                f"the preprocessor file has frames of {size[1]} x {size[0]} pixels, the model {vision.image_size} x "
                f"{vision.image_size}; take the checkpoint's original files"
            )
        super().__init__(
            checkpoint,
            PROMPTS,
            COMMENTARY,
            family="llava-onevision",
            n_axes=1,
            tokens_per_frame=self._grid**2,
            has_saliency=True,
        )

    def embed_clips(self, clips: Sequence[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        """Time reaches this family as order only, so it does not matter when a stream began."""
        frames = [frame for clip in clips for frame in clip.frames]
        pixels = upload(self._preprocess(frames), self.facts.device).to(self.facts.dtype)
        more = {"output_hidden_states": True} if wants_saliency else {}
        vision = self._model.get_video_features(pixels[None], return_dict=True, **more)
        n_tokens = [len(clip.frames) * self.facts.tokens_per_frame for clip in clips]
        # Later versions of transformers put one newline per call behind; it belongs to the question (see the class).
        features_TE = vision.pooler_output[0][: sum(n_tokens)].to(self.facts.device)
        saliencies: Sequence[torch.Tensor | None] = [None] * len(clips)
        if wants_saliency:
            saliencies = self._saliency(vision.hidden_states).to(self.facts.device).split(n_tokens)
        return [
            self._tokens(clip.frames, part_TE, saliency_T)
            for clip, part_TE, saliency_T in zip(clips, features_TE.split(n_tokens), saliencies, strict=True)
        ]

    def _tokens(
        self, frames: Sequence[Frame], features_TE: torch.Tensor, saliency_T: torch.Tensor | None
    ) -> VisualTokens:
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
            saliency_N=saliency_T,
        )

    def _saliency(self, hidden_states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Attention that each token's patches receive in the layer whose output is read, pooled as features are."""
        chosen = self._model.config.vision_feature_layer
        layer = siglip_layers(self._model.model.vision_tower)[chosen]
        received_FP = attention_received(layer, hidden_states[chosen - 1])
        return cast(torch.Tensor, self._model.model.apply_pooling(received_FP[..., None])).flatten()

    def encoding_flops(self, frames: Sequence[Frame]) -> int:
        """Vision tower and projector; pooling comes after them and has no matrix product."""
        return len(frames) * siglip_flops(self._model.config.vision_config, self.facts.hidden_size)

    def question(self, text: str, *, after_video: bool, turns: Sequence[Turn] = ()) -> torch.Tensor:
        text_TE = super().question(text, after_video=after_video, turns=turns)
        return torch.cat((self._model.model.image_newline[None].to(text_TE), text_TE)) if after_video else text_TE
