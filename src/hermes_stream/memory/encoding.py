"""Values as JSON and named tensors, without pickle: reading a file never runs anything that the file brings.

A value is None, a bool, int, float, string or path, a tensor or numpy array, a tuple of values, or a frozen dataclass
or frozen pydantic model of this package whose fields are values.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from hermes_stream.errors import SnapshotError
from hermes_stream.memory.packed_rows import StoredTensor

_PACKAGE = __name__.partition(".")[0]


class Writer:
    """Turns values into JSON; tensors are collected by name, each once, and neither copied nor read from a disk."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor | StoredTensor] = {}
        # Names by place: `tensors` keeps what is there alive, so that no place is given away twice.
        self._names: dict[tuple[Any, ...], str] = {}

    def value(self, value: Any, name: str) -> Any:
        """The JSON of a value; its tensors are called after `name`. Raises SnapshotError for anything else."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, PurePath):
            return {"path": str(value)}
        if isinstance(value, torch.Tensor):
            return {"tensor": self.tensor(value, name), "is_on_host": value.device.type == "cpu"}
        if isinstance(value, np.ndarray):
            # A copy: a frame's picture is its owner's, who may write to it.
            return {"array": self.tensor(torch.from_numpy(np.array(value)), name)}
        if type(value) is tuple:
            return [self.value(part, f"{name}.{index}") for index, part in enumerate(value)]
        if (names := _field_names(type(value))) is not None:
            parts = {part: self.value(getattr(value, part), f"{name}.{part}") for part in names}
            return {"class": _name_of(type(value)), "fields": parts}
        raise SnapshotError(
            f"{name} is a {type(value).__name__}, which a snapshot cannot hold; expected numbers, strings, tensors, "
            "tuples and frozen dataclasses of them"
        )

    def tensor(self, tensor: torch.Tensor | StoredTensor, name: str) -> str:
        """The name under which a tensor is collected: the given one, or that of an earlier view of the same numbers."""
        known = self._names.setdefault(_place(tensor), name)
        self.tensors.setdefault(known, tensor)
        return known


class Reader:
    """Turns what a Writer wrote into values again.

    device: for tensors that were on the model's. own: classes outside this package that may be made.
    """

    def __init__(
        self, tensors: Mapping[str, torch.Tensor | StoredTensor], device: torch.device, own: Collection[type[Any]] = ()
    ) -> None:
        self._tensors = tensors
        self._device = device
        self._own = {_name_of(kind): kind for kind in own}
        self._moved: dict[str, torch.Tensor] = {}

    def value(self, json: Any) -> Any:
        """The value. Raises SnapshotError where the package has no such class, or another form of it."""
        if isinstance(json, list):
            return tuple(self.value(part) for part in json)
        if not isinstance(json, dict):
            return json
        if "tensor" in json:
            return self.host_tensor(json["tensor"]) if json["is_on_host"] else self._on_device(json["tensor"])
        if "array" in json:
            return self.host_tensor(json["array"]).numpy()
        if "path" in json:
            return Path(json["path"])
        return self._make(json["class"], {name: self.value(part) for name, part in json["fields"].items()})

    def tensor(self, name: str, device: torch.device) -> torch.Tensor:
        """A tensor by its name, on a device of the caller's choice."""
        return load(self._tensors[name]).to(device)

    def host_tensor(self, name: str) -> torch.Tensor:
        """A tensor by its name, in host memory."""
        return self.tensor(name, torch.device("cpu"))

    def _on_device(self, name: str) -> torch.Tensor:
        """Once for each name: values that shared a tensor share it again."""
        if name not in self._moved:
            self._moved[name] = self.tensor(name, self._device)
        return self._moved[name]

    def _make(self, name: str, parts: dict[str, Any]) -> Any:
        kind = self._own.get(name) or _class_of(name)
        try:
            return kind(**parts)
        except (TypeError, ValueError) as error:
            raise SnapshotError(
                f"the snapshot's {name} is not the one of this version of hermes-stream: {str(error).splitlines()[0]}"
            ) from error


def load(tensor: torch.Tensor | StoredTensor) -> torch.Tensor:
    """A collected tensor, read if it is in a file."""
    return tensor if isinstance(tensor, torch.Tensor) else tensor.load()


def _place(tensor: torch.Tensor | StoredTensor) -> tuple[Any, ...]:
    """The same for two views of the same numbers, and for nothing else as long as they are alive."""
    if not isinstance(tensor, torch.Tensor) or not tensor.numel():
        return (id(tensor),)
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def _field_names(kind: type[Any]) -> list[str] | None:
    """What a frozen class is made of; None for other classes."""
    if issubclass(kind, BaseModel):
        return list(kind.model_fields) if kind.model_config.get("frozen") else None
    if is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return [field.name for field in fields(kind)]
    return None


def _name_of(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _class_of(name: str) -> type[Any]:
    """A value's class in this package, by its name."""
    module, _, qualname = name.partition(":")
    if module.partition(".")[0] != _PACKAGE:
        raise SnapshotError(f"the snapshot holds a {name}, which is not of this package; name the class in `own`")
    try:
        import_module(module)
        kind = getattr(sys.modules[module], qualname)
    except (ImportError, AttributeError):
        kind = None
    if not isinstance(kind, type) or _field_names(kind) is None:
        raise SnapshotError(f"the snapshot holds a {name}, which this version of hermes-stream does not have")
    return kind
