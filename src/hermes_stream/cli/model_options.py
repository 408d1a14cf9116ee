"""Which model, and how it is loaded: the options of every command that needs one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cyclopts import Parameter

from hermes_stream.defaults import DEFAULT_MODEL

if TYPE_CHECKING:
    from hermes_stream.engine.engine import Engine
    from hermes_stream.models.adapter import Adapter


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model.

    Parameters
    ----------
    model
        A bundled model, a checkpoint folder, a hub id, or random:SHAPE; see hermes-stream models.
    dtype
        float32, bfloat16, float16 or float64.
    device
        cpu, cuda, cuda:1, ... Default: an accelerator if there is one. meta: shapes without numbers, of random:SHAPE.
    device_map
        Instead of a device, auto: over all accelerators.
    max_pixels
        Pixels of a frame after resizing, for families that keep a picture's shape.
    quantization
        Of the language model's weights: torchao-int8 or bitsandbytes-nf4. Default: as the checkpoint is.
    text_positions
        Where questions stand in Qwen2.5-VL: after the video's times, or in overlap with them.
    """

    model: str = DEFAULT_MODEL
    dtype: str | None = None
    device: str | None = None
    device_map: str | None = None
    max_pixels: int | None = None
    quantization: str | None = None
    text_positions: str = "after"

    def load_adapter(self) -> Adapter:
        """The checkpoint with its family's adapter."""
        from hermes_stream.models.load import load_adapter

        wanted = {name: value for name, value in asdict(self).items() if name in ModelOptions.__dataclass_fields__}
        return load_adapter(wanted.pop("model"), **wanted)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EngineOptions(ModelOptions):
    """The model, and how much memory it and its sessions may take.

    Parameters
    ----------
    tensor_parallel
        Devices of this machine that share the model, each with its part of all heads.
    memory_limit
        Bytes of weights and sessions together, as in 12GiB. Default: a share of what is free.
    """

    tensor_parallel: int = 1
    memory_limit: str | None = None

    def load_model(self) -> Engine:
        """The model's engine."""
        from hermes_stream.engine.engine import load_model

        wanted = {name: value for name, value in asdict(self).items() if name in EngineOptions.__dataclass_fields__}
        return load_model(wanted.pop("model"), **wanted)
