"""On which device a model stands: one, or a map from its parts to several."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch

from hermes_stream.errors import ConfigError, ModelError

# "auto", or parts of the model and their devices, as `from_pretrained` takes it.
DeviceMap = str | Mapping[str, str | int]
_STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")


def choose_device(device: str | None, device_map: DeviceMap | None) -> tuple[str, DeviceMap | None]:
    """The device of what enters the model, and the map if parts stand elsewhere; a map with one device is that device.

    Raises ConfigError for both at once, ModelError for a device that is not there and a map without accelerate.
    """
    if device is not None and device_map is not None:
        raise ConfigError(f"device {device!r} and device_map {device_map!r} were given; give one of them")
    if isinstance(device_map, str) and device_map not in _STRATEGIES:
        device_map = {"": device_map}
    if isinstance(device_map, Mapping):
        if not device_map:
            raise ConfigError('device_map is empty; give "auto", or parts of the model and their devices')
        places = {place: _name(place) for place in device_map.values()}
        for place in places.values():
            _check_device(place)
        if "" in device_map and len(set(places.values())) == 1:
            return next(iter(places.values())), None
    if device_map is not None:
        if find_spec("accelerate") is None:
            raise ModelError("device_map needs the package accelerate: pip install 'hermes-stream[large]'")
        return "cuda" if torch.cuda.is_available() else "cpu", device_map
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check_device(device)
    return device, None


def _name(place: str | int) -> str:
    """Numbers are accelerators."""
    return f"cuda:{place}" if isinstance(place, int) else place


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"device {device!r} is unknown; give cpu, cuda, cuda:1, ...") from error
    if kind.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: this PyTorch sees no CUDA device; use cpu")
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {device!r}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")


def check_placement(name: str, model: Any) -> None:
    """Raise ModelError if a map left weights where they would be copied at each forward."""
    away = [part for part, parameter in model.named_parameters() if parameter.device.type == "meta"]
    if away:
        raise ModelError(
            f"{name}: {away[0]} and {len(away) - 1} more do not fit the devices and would be copied at each forward; "
            "give more devices or a smaller dtype"
        )
