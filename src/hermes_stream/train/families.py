"""What the recipe asks of a model family. The files `tiny_*.py` answer; nothing else here knows a family by name.

Shape letters: G grids, F frames of a grid, C Y X channel, image height, width, N tokens of a grid, E model width, R
position axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from hermes_stream.models.checkpoint_adapter import Prompts
from hermes_stream.types import Frame

# Stands among token ids where a vision feature, or the model's learned newline, enters.
VISION_ID = -1
NEWLINE_ID = -2

TokenIds = Callable[[str], list[int]]
# From decoded frames to a teacher's features `[F, N, E]`.
Teacher = Callable[[Sequence[Frame]], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Span:
    """What one grid adds to a stream: N rows, separators included.

    ids: token ids, `VISION_ID` for vision. position_RN: counted from where the span begins. n_positions: from there to
    where the next one begins; 0 where times are absolute.
    """

    ids: tuple[int, ...]
    position_RN: NDArray[np.int64]
    n_positions: int


def vision_ids(shape: tuple[int, int]) -> tuple[int, ...]:
    """One `VISION_ID` for each cell of a grid."""
    return (VISION_ID,) * (shape[0] * shape[1])


class Family(ABC):
    """One family's tiny checkpoint.

    frames_per_grid: sampled frames that become one grid of tokens. time_axes: position axes on which streams have gaps.
    rates: sampled frames per second in training; the rate of `stream_defaults` is what the checkpoint is made for.
    warmup_rate: the same for the clips that teach the vision tower; slow where single frames suffice, for variety.
    has_newline: whether a question opens with the model's learned newline.
    description: of the model, for its card.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    n_axes: ClassVar[int]
    time_axes: ClassVar[tuple[int, ...]]
    frames_per_grid: ClassVar[int]
    position_limit: ClassVar[int]
    has_newline: ClassVar[bool]
    prompts: ClassVar[Prompts]
    rates: ClassVar[tuple[float, ...]]
    warmup_rate: ClassVar[float]
    stream_defaults: ClassVar[Mapping[str, float]]

    @property
    @abstractmethod
    def processors(self) -> Mapping[str, Mapping[str, Any]]:
        """The files that say how frames become pixels, by name."""

    @abstractmethod
    def make_tokenizer(self) -> PreTrainedTokenizerFast:
        """The checkpoint's tokenizer."""

    @abstractmethod
    def make_config(self, tokenizer: PreTrainedTokenizerFast) -> Any:
        """The stock configuration of the checkpoint."""

    @abstractmethod
    def make_model(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
        """The model that training begins with, in float32."""

    @abstractmethod
    def make_teacher(self) -> Teacher | None:
        """Whose features the vision tower learns to imitate, if there is a teacher."""

    @abstractmethod
    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a frame as the model gets it."""

    @abstractmethod
    def grid_shape(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens that frames of this size become."""

    @abstractmethod
    def encode(self, model: Any, pixels_GFCYX: torch.Tensor) -> torch.Tensor:
        """Features `[G, N, E]` of uint8 grids by the model's own video path; taps of DeepStack widen E."""

    @abstractmethod
    def vision_weights(self, model: Any) -> list[torch.nn.Parameter]:
        """What the vision warm-up trains."""

    @abstractmethod
    def last_vision_layer(self, model: Any) -> torch.nn.Linear:
        """The layer whose output the features are."""

    @abstractmethod
    def newline(self, model: Any) -> torch.nn.Parameter | None:
        """The learned row `[E]` that opens a question, for a family that `has_newline`."""

    @abstractmethod
    def span(self, times_seconds: Sequence[float], shape: tuple[int, int], token_ids: TokenIds) -> Span:
        """Rows of the grid whose frames were shown at these times since the stream began."""
