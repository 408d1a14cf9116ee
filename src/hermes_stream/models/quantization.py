"""Weights in fewer bits, through transformers' own quantisation settings: of the language model, and of nothing else.

A vision tower is a small part of the weights and reads every frame; the head decides every token.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

from hermes_stream.errors import ModelError, unknown_name

# Of all families, as they begin in the model.
_LEFT_ALONE = ["lm_head", "model.vision_tower", "model.multi_modal_projector", "model.visual"]
# What a method of a checkpoint's `quantization_config` needs; of others, transformers says it.
_PACKAGES = {"torchao": "torchao", "bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed_tensors"}


def quantization_config(wanted: str | Any) -> Any:
    """transformers' settings for a name; a settings object of the caller's own is passed on as it is.

    Raises ModelError for an unknown name and for a package that is not installed.
    """
    if not isinstance(wanted, str):
        return wanted
    if wanted not in _CONFIGS:
        raise ModelError(unknown_name("quantization", wanted, _CONFIGS))
    check_packages(f"quantization {wanted!r}", wanted.partition("-")[0])
    return _CONFIGS[wanted]()


def check_packages(what: str, method: str) -> None:
    """Raise ModelError if a quantisation method's package is not installed, or accelerate, which places the weights."""
    for package in (_PACKAGES.get(method), "accelerate"):
        if package is not None and find_spec(package) is None:
            name = package.replace("_", "-")
            raise ModelError(f"{what} needs the package {name}: pip install {name}")


def quantization_method(config: Any) -> str | None:
    """How a model's weights are, or are saved to be, quantised: the method's name in its configuration."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    method = settings["quant_method"] if isinstance(settings, dict) else settings.quant_method
    return str(getattr(method, "value", method))


def stored_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters as they are stored: of quantised ones, packed codes and scales."""
    return sum(_bytes_of(parameter) for parameter in model.parameters())


def _bytes_of(tensor: torch.Tensor) -> int:
    """A tensor subclass says which tensors it is made of; its own size is that of what it stands for."""
    if hasattr(tensor, "__tensor_flatten__"):
        inner = [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
        # A spread one also names the devices.
        return sum(_bytes_of(x) for x in inner if isinstance(x, torch.Tensor))
    state = getattr(tensor, "quant_state", None)  # bitsandbytes keeps a weight's scales beside it
    scales = [] if state is None else [x for x in state.as_dict(packed=True).values() if isinstance(x, torch.Tensor)]
    return sum(x.numel() * x.element_size() for x in (tensor, *scales))


def _torchao_int8() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=list(_LEFT_ALONE))


def _bitsandbytes_nf4() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=list(_LEFT_ALONE))


_CONFIGS: dict[str, Callable[[], Any]] = {"bitsandbytes-nf4": _bitsandbytes_nf4, "torchao-int8": _torchao_int8}
