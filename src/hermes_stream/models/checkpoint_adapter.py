"""What the adapters of all families share: text in, hidden states out, sizes.

Shape letters: T tokens, E model width, L rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch

from hermes_stream.errors import ConfigError, ModelError
from hermes_stream.memory.backends.base import Backend
from hermes_stream.memory.backends.choose import choose_backend
from hermes_stream.memory.upload import upload
from hermes_stream.models.adapter import Batch, Clip, ModelFacts, StreamDefaults
from hermes_stream.models.attention_seam import ModelRope, attach, project_text, run_stock_text_model, run_text_model
from hermes_stream.models.commentary import CommentaryPrompts
from hermes_stream.models.flops import text_sizes
from hermes_stream.models.quantization import quantization_method, stored_bytes
from hermes_stream.models.stock import StockModel
from hermes_stream.types import Frame, Turn, VisualTokens

# Texts whose token ids are remembered.
_N_KNOWN_TEXTS = 64
TEXT_POSITIONS = ("after", "overlap")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The strings around frames: before the first, and a question's from the end of the video to the answer.

    question_first: the same question where no frame has been seen. turn: a question with its answer, up to where the
    text of the next one stands; before it stands what stands before the text of a question.
    """

    prefix: str
    question: str
    question_first: str
    turn: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What every adapter is made from: the stock model object and what lies beside its weights.

    defaults: the settings that the checkpoint brings, over those of its family. max_pixels: of a frame, where the
    family has a choice. text_positions: see `load_adapter`.
    """

    name: str
    model: Any
    tokenizer: Any
    preprocessor: Mapping[str, Any]
    stop_token_ids: frozenset[int]
    defaults: Mapping[str, Any]
    max_pixels: int | None = None
    text_positions: str = "after"


class CheckpointAdapter:
    """The text half of the `Adapter` protocol, for models with `model.language_model` and `lm_head`."""

    family_defaults: ClassVar[StreamDefaults]

    def __init__(
        self,
        checkpoint: Checkpoint,
        prompts: Prompts,
        commentary: CommentaryPrompts,
        *,
        family: str,
        n_axes: int,
        tokens_per_frame: int,
        frames_per_grid: int = 1,
        time_axes: tuple[int, ...] = (0,),
        has_absolute_time: bool = False,
        has_saliency: bool = False,
        n_taps: int = 0,
    ) -> None:
        model, text_config = checkpoint.model, checkpoint.model.config.text_config
        if checkpoint.text_positions == "overlap" and not has_absolute_time:
            raise ConfigError(
                f"text positions 'overlap' are a rule for absolute times, which {family} does not have; leave them out"
            )
        attach(model, text_config)
        self.tokenizer = checkpoint.tokenizer
        # Policies ask the same things after every interval, in every session.
        self._ids = lru_cache(_N_KNOWN_TEXTS)(partial(_tokenize, checkpoint.tokenizer))
        self.stop_token_ids = checkpoint.stop_token_ids
        given, family_defaults = checkpoint.defaults, self.family_defaults
        self.defaults = StreamDefaults(
            fps=float(given.get("fps", family_defaults.fps)),
            chunk_frames=int(given.get("chunk", family_defaults.chunk_frames)),
            budget_tokens=int(given.get("budget", family_defaults.budget_tokens)),
            measured_layers=_measured_layers(checkpoint.name, given, text_config.num_hidden_layers),
        )
        self.commentary = commentary.with_settings(given.get("commentary", {}))
        self._model = model
        self._text_model = model.model.language_model
        self._prompts = prompts
        self.rope = ModelRope(self._text_model.rotary_emb, n_axes)
        self.text_sizes = text_sizes(text_config, self._text_model.layers[0].self_attn.head_dim)
        weight = self._text_model.embed_tokens.weight
        layer_devices = tuple(next(layer.parameters()).device for layer in self._text_model.layers)
        self.facts = ModelFacts(
            name=checkpoint.name,
            family=family,
            n_layers=text_config.num_hidden_layers,
            n_kv_heads=text_config.num_key_value_heads,
            head_dim=self.text_sizes.head_dim,
            hidden_size=text_config.hidden_size,
            n_axes=n_axes,
            max_positions=text_config.max_position_embeddings,
            tokens_per_frame=tokens_per_frame,
            frames_per_grid=frames_per_grid,
            prefix_tokens=len(self._ids(prompts.prefix)),
            time_axes=time_axes,
            has_absolute_time=has_absolute_time,
            text_overlaps_times=checkpoint.text_positions == "overlap",
            layer_devices=() if set(layer_devices) == {weight.device} else layer_devices,
            n_parameters=model.num_parameters(),
            weight_bytes=stored_bytes(model),
            dtype=weight.dtype,
            device=weight.device,
            has_saliency=has_saliency,
            n_taps=n_taps,
            quantization=quantization_method(model.config),
        )

        sizes = self.text_sizes
        self.backend: Backend = choose_backend(
            {weight.device, *layer_devices}, weight.dtype, sizes.head_dim, sizes.n_heads, sizes.n_kv_heads
        )

    def embed(self, frames: Sequence[Frame], *, since_seconds: float, wants_saliency: bool = False) -> VisualTokens:
        return self.embed_clips([Clip(frames, since_seconds)], wants_saliency=wants_saliency)[0]

    def embed_clips(self, clips: Sequence[Clip], *, wants_saliency: bool = False) -> list[VisualTokens]:
        """Each family's own."""
        raise NotImplementedError

    def token_ids(self, text: str) -> Sequence[int]:
        return self._ids(text)

    def prefix(self) -> torch.Tensor:
        return self._embed_text(self._prompts.prefix)

    def question(self, text: str, *, after_video: bool, turns: Sequence[Turn] = ()) -> torch.Tensor:
        template = self._prompts.question if after_video else self._prompts.question_first
        earlier = "".join(self._prompts.turn.format(question=turn.question, answer=turn.answer) for turn in turns)
        return self._embed_text(template.format(text=earlier + text))

    def guidance(self, text: str) -> torch.Tensor:
        return self._embed_text(text)

    def token(self, token_id: int) -> torch.Tensor:
        return self._embed_ids([token_id])

    def tokens(self, id_T: torch.Tensor) -> torch.Tensor:
        embeddings_TE: torch.Tensor = self._text_model.embed_tokens(id_T)
        return embeddings_TE

    def run(self, batch: Batch) -> torch.Tensor:
        return run_text_model(self._text_model, batch, n_axes=self.facts.n_axes)

    def project(self, layer_index: int, embeddings_TE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        return project_text(self._text_model, layer_index, embeddings_TE, n_axes=self.facts.n_axes)

    def run_stock(
        self,
        embeddings_TE: torch.Tensor,
        position_RT: torch.Tensor,
        deepstack: tuple[torch.Tensor, list[torch.Tensor]] | None,
        *,
        want_attentions: bool,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return run_stock_text_model(
            self._model, self._text_model, embeddings_TE, position_RT, deepstack, want_attentions=want_attentions
        )

    def stock_model(self) -> StockModel:
        return StockModel(self._model)

    def logits(self, hidden_LE: torch.Tensor) -> torch.Tensor:
        logits_LV: torch.Tensor = self._model.lm_head(hidden_LE)
        return logits_LV.to(self.facts.device)

    @property
    def why_ended(self) -> None:
        """It has no other processes."""
        return None

    def close(self) -> None:
        """The model goes with the last reference to it."""

    def _embed_text(self, text: str) -> torch.Tensor:
        return self._embed_ids(self._ids(text))

    def _embed_ids(self, ids: Sequence[int]) -> torch.Tensor:
        return self.tokens(upload(torch.tensor(ids, dtype=torch.int64), self._text_model.embed_tokens.weight.device))


def _tokenize(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _measured_layers(name: str, given: Mapping[str, Any], n_layers: int) -> tuple[int, int] | None:
    borders = given.get("measured_layers")
    if borders is None:
        return None
    is_pair = isinstance(borders, list) and len(borders) == 2 and all(type(border) is int for border in borders)
    if not is_pair or not 0 <= borders[0] <= borders[1] <= n_layers:
        raise ModelError(
            f"{name}: measured_layers is {borders!r}; expected [first middle layer, first deep layer] of {n_layers}"
        )
    return borders[0], borders[1]
