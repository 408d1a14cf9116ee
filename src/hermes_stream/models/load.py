"""From a name to an adapter: bundled checkpoints, local folders, hub ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from hermes_stream.defaults import DEFAULT_MODEL
from hermes_stream.errors import ModelError, unknown_name
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.checkpoint_adapter import Checkpoint
from hermes_stream.models.random_weights import PREPROCESSORS, RANDOM_CONFIGS

DEFAULTS_FILE = "hermes_stream.json"
_RANDOM = "random:"
# Model types, as `config.json` names them (and the modules here), and their adapters.
_FAMILIES = {
    "llava_onevision": "LlavaOnevisionAdapter",
    "qwen2_5_vl": "Qwen2_5VLAdapter",
    "qwen3_vl": "Qwen3VLAdapter",
}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def bundled_models() -> dict[str, Path]:
    """Checkpoints that come with the package, by name."""
    root = Path(str(resources.files("hermes_stream.models") / "bundled"))
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {folder.name: folder for folder in folders if (folder / "config.json").is_file()}


def load_adapter(
    name: str = DEFAULT_MODEL, *, dtype: str | None = None, device: str | None = None, max_pixels: int | None = None
) -> Adapter:
    """Load a checkpoint and put the family's adapter around it.

    name: a bundled name, a local folder in the Hugging Face format, a hub id `owner/name`, or "random:SHAPE" for random
        weights in the shape of a published checkpoint (always bfloat16 unless told otherwise).
    dtype: "float32", "bfloat16", "float16" or "float64"; by default the checkpoint's own on an accelerator, float32
        on a CPU.
    max_pixels: of a frame after resizing, for families that keep a picture's shape (Qwen-VL).
    Raises ModelError, one line, for anything that cannot be loaded.
    """
    if name.startswith(_RANDOM):
        return _load_random(name, dtype, device, max_pixels)
    place = _resolve(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: this PyTorch sees no CUDA device; use cpu")
    config = _load_config(name, place)
    if config.model_type not in _FAMILIES:
        raise ModelError(f"{name}: no adapter for {config.model_type!r}; supported: {', '.join(_FAMILIES)}")
    return _adapt(config.model_type, _load_checkpoint(name, place, _dtype(dtype, device), device, max_pixels))


def _adapt(model_type: str, checkpoint: Checkpoint) -> Adapter:
    module = import_module(f"hermes_stream.models.{model_type}")
    adapter: Adapter = getattr(module, _FAMILIES[model_type])(checkpoint)
    return adapter


def _load_random(name: str, dtype: str | None, device: str | None, max_pixels: int | None) -> Adapter:
    """A model of a published shape with random weights; on the device "meta" without any memory for them."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    shape = name.removeprefix(_RANDOM)
    if shape not in RANDOM_CONFIGS:
        raise ModelError(unknown_name("random model", shape, RANDOM_CONFIGS))
    model_type = RANDOM_CONFIGS[shape]["model_type"]
    config = AutoConfig.for_model(**RANDOM_CONFIGS[shape])
    with torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")):
        model = AutoModelForImageTextToText.from_config(config, dtype=_DTYPES[dtype or "bfloat16"])
    checkpoint = Checkpoint(
        name=name,
        model=model.eval(),
        tokenizer=AutoTokenizer.from_pretrained(bundled_models()[DEFAULT_MODEL]),
        preprocessor=PREPROCESSORS[model_type],
        stop_token_ids=frozenset(),
        defaults={},
        max_pixels=max_pixels,
    )
    return _adapt(model_type, checkpoint)


def _resolve(name: str) -> str:
    bundled = bundled_models()
    if name in bundled:
        return str(bundled[name])
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{name}: the folder has no config.json; give a checkpoint folder in the HF format")
        return str(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise ModelError(unknown_name("model", name, bundled) + "; or give a checkpoint folder or a hub id owner/name")


def _dtype(dtype: str | None, device: str) -> torch.dtype | str:
    if dtype is None:
        return torch.float32 if device == "cpu" else "auto"
    if dtype not in _DTYPES:
        raise ModelError(unknown_name("dtype", dtype, _DTYPES))
    return _DTYPES[dtype]


def _load_config(name: str, place: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name}: cannot read the checkpoint's config ({_first_line(error)})") from error


def _load_checkpoint(
    name: str, place: str, dtype: torch.dtype | str, device: str, max_pixels: int | None
) -> Checkpoint:
    from transformers import AutoModelForImageTextToText, AutoTokenizer
    from transformers.utils import logging

    has_bars = logging.is_progress_bar_enabled()
    if name in bundled_models():
        # A bar for a file of ten megabytes is noise; large checkpoints keep theirs.
        logging.disable_progress_bar()
    try:
        model, found = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{name}: cannot load the checkpoint ({_first_line(error)})") from error
    finally:
        if has_bars:
            logging.enable_progress_bar()
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"{name}: the weights lack {missing[0]} and {len(missing) - 1} more; take the whole checkpoint"
        )
    model = model.to(device).eval()
    stops = model.generation_config.eos_token_id
    stops = [stops] if isinstance(stops, int) else list(stops or [])
    if tokenizer.eos_token_id is not None:
        stops.append(tokenizer.eos_token_id)
    return Checkpoint(
        name=name,
        model=model,
        tokenizer=tokenizer,
        preprocessor=_preprocessor_settings(name, place),
        stop_token_ids=frozenset(stops),
        defaults=_read_json(place, DEFAULTS_FILE) or {},
        max_pixels=max_pixels,
    )


def _preprocessor_settings(name: str, place: str) -> Mapping[str, Any]:
    """The video processor's settings; older checkpoints keep them with the image processor's."""
    nested: Mapping[str, Any] = (_read_json(place, "processor_config.json") or {}).get("video_processor") or {}
    settings = (
        _read_json(place, "video_preprocessor_config.json") or nested or _read_json(place, "preprocessor_config.json")
    )
    if not settings:
        raise ModelError(f"{name}: no preprocessor_config.json; take the checkpoint's original files")
    return settings


def _read_json(place: str, filename: str) -> dict[str, Any] | None:
    from transformers.utils import cached_file

    path = cached_file(place, filename, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return None
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON ({_first_line(error)})") from error
    return content


def supported_families() -> tuple[str, ...]:
    """Model types, as `config.json` names them, that have an adapter."""
    return tuple(_FAMILIES)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
