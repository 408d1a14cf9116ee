"""What lies in a checkpoint's folder, judged before anything slow is done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hermes_stream.errors import ModelError

CONFIG_FILE = "config.json"
_WEIGHTS_FILE = "model.safetensors"
_INDEX_FILE = "model.safetensors.index.json"
# transformers reads these too; what is wrong with them is found out when they are loaded.
_OTHER_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")


def check_folder(name: str, folder: Path) -> None:
    """Raise ModelError for weights or a tokenizer that are not there, and for weight files that are not whole.

    Reads the heads of the files only.
    """
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelError(f"{name}: the folder has no tokenizer.json; take the checkpoint's original files")
    for path in _weight_files(name, folder):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{name}: {path.name} is not whole ({first_line(error)}); copy it again") from error


def _weight_files(name: str, folder: Path) -> list[Path]:
    """The safetensors files of a folder; empty if its weights are in another format."""
    if (folder / _WEIGHTS_FILE).is_file():
        return [folder / _WEIGHTS_FILE]
    if (folder / _INDEX_FILE).is_file():
        index = read_json(folder / _INDEX_FILE)
        shards = sorted(folder / shard for shard in set(index.get("weight_map", {}).values()))
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise ModelError(f"{name}: {_INDEX_FILE} names {missing[0]}, which is missing; take the whole checkpoint")
        return shards
    if any((folder / file).is_file() for file in _OTHER_WEIGHTS):
        return []
    raise ModelError(f"{name}: the folder has no {_WEIGHTS_FILE} and no {_INDEX_FILE}; take the whole checkpoint")


def preprocessor_settings(name: str, place: str) -> Mapping[str, Any]:
    """The video processor's settings; older checkpoints keep them with the image processor's."""
    nested: Mapping[str, Any] = (find_json(place, "processor_config.json") or {}).get("video_processor") or {}
    settings = (
        find_json(place, "video_preprocessor_config.json") or nested or find_json(place, "preprocessor_config.json")
    )
    if not settings:
        raise ModelError(f"{name}: no preprocessor_config.json; take the checkpoint's original files")
    return settings


def find_json(place: str, filename: str) -> dict[str, Any] | None:
    """A file's content, from a folder or the hub's cache; None if the checkpoint has no such file."""
    from transformers.utils import cached_file

    path = cached_file(place, filename, _raise_exceptions_for_missing_entries=False)
    return None if path is None else read_json(Path(path))


def read_json(path: Path) -> dict[str, Any]:
    """Raises ModelError for what is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}, expected a JSON object")
    return content


def first_line(error: BaseException) -> str:
    """The first line of what a foreign error says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
