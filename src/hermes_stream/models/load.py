"""From a name to an adapter: bundled checkpoints, local folders, hub ids."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from hermes_stream.defaults import DEFAULT_MODEL
from hermes_stream.errors import ConfigError, ModelError, unknown_name
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.attention_seam import refuse_unsupported
from hermes_stream.models.checkpoint_adapter import TEXT_POSITIONS, Checkpoint
from hermes_stream.models.checkpoint_files import (
    CONFIG_FILE,
    check_folder,
    find_json,
    first_line,
    preprocessor_settings,
)
from hermes_stream.models.placement import DeviceMap, check_placement, choose_device
from hermes_stream.models.quantization import check_packages, quantization_config, quantization_method
from hermes_stream.models.random_weights import PREPROCESSORS, RANDOM_CONFIGS
from hermes_stream.models.sharding import check_heads, sharding

DEFAULTS_FILE = "hermes_stream.json"
_RANDOM = "random:"
# Model types, as `config.json` names them (and the modules here), and their adapters.
_FAMILIES = {
    "llava_onevision": "LlavaOnevisionAdapter",
    "qwen2_5_vl": "Qwen2_5VLAdapter",
    "qwen3_vl": "Qwen3VLAdapter",
}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@dataclass(frozen=True, slots=True)
class _Wishes:
    """How a checkpoint is to be loaded, names checked; the fields are those of `load_adapter`."""

    device: str
    device_map: DeviceMap | None
    dtype: torch.dtype | None
    max_pixels: int | None
    text_positions: str
    quantization: Any
    n_ranks: int = 1


def bundled_models() -> dict[str, Path]:
    """Checkpoints that come with the package, by name."""
    root = Path(str(resources.files("hermes_stream.models") / "bundled"))
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {folder.name: folder for folder in folders if (folder / "config.json").is_file()}


def load_adapter(
    name: str = DEFAULT_MODEL,
    *,
    dtype: str | None = None,
    device: str | None = None,
    device_map: DeviceMap | None = None,
    max_pixels: int | None = None,
    text_positions: str = "after",
    quantization: str | Any | None = None,
    n_ranks: int = 1,
) -> Adapter:
    """Load a checkpoint and put the family's adapter around it.

    name: a bundled name, a local folder in the Hugging Face format, a hub id `owner/name`, or "random:SHAPE" for random
        weights in the shape of a published checkpoint (always bfloat16 unless told otherwise).
    dtype: "float32", "bfloat16", "float16" or "float64"; by default the checkpoint's own on an accelerator, float32
        on a CPU.
    device_map: instead of a device, "auto" or a mapping from parts of the model to devices (needs accelerate).
    max_pixels: of a frame after resizing, for families that keep a picture's shape (Qwen-VL).
    text_positions: where text stands that follows frames, in families with absolute time (Qwen2.5-VL): "after" their
        largest position on any axis (transformers before 5, and how the model was made), or behind their rows and
        columns, in "overlap" with their times (transformers 5).
    quantization: "torchao-int8" or "bitsandbytes-nf4", of the language model's weights, or a quantisation config of
        transformers' own. Checkpoints that were saved quantised need none.
    n_ranks: of how many processes that have joined one another this one loads its part; see `engine.parallel`.
    Raises ModelError or ConfigError, one line, for anything that cannot be loaded; what can be seen without loading the
    weights is found before.
    """
    if dtype is not None and dtype not in _DTYPES:
        raise ModelError(unknown_name("dtype", dtype, _DTYPES))
    if text_positions not in TEXT_POSITIONS:
        raise ConfigError(unknown_name("rule for text positions", text_positions, TEXT_POSITIONS))
    device, device_map = choose_device(device, device_map)
    if quantization is not None:
        quantization = quantization_config(quantization)
    dtype_wish = None if dtype is None else _DTYPES[dtype]
    wishes = _Wishes(device, device_map, dtype_wish, max_pixels, text_positions, quantization, n_ranks)
    if name.startswith(_RANDOM):
        return _load_random(name, wishes)
    if device == "meta":
        raise ModelError(f"{name}: the device meta holds no weights; only models as random:SHAPE can be put there")
    place = resolve_checkpoint(name)
    config = _load_config(name, place)
    if config.model_type not in _FAMILIES:
        raise ModelError(f"{name}: no adapter for {config.model_type!r}; supported: {', '.join(_FAMILIES)}")
    refuse_unsupported(config.text_config)
    wishes = replace(wishes, **_quantized(name, config, wishes))
    return _adapt(config.model_type, _load_checkpoint(name, place, wishes))


def load_checkpoint(name: str) -> Checkpoint:
    """A checkpoint of one of the families as transformers has it, in float32 on the CPU: for training.

    Raises ModelError as `load_adapter` does.
    """
    place = resolve_checkpoint(name)
    config = _load_config(name, place)
    if config.model_type not in _FAMILIES:
        raise ModelError(f"{name}: {config.model_type!r} is no family of the engine; supported: {', '.join(_FAMILIES)}")
    return _load_checkpoint(name, place, _Wishes("cpu", None, torch.float32, None, "after", None))


def check_sharding(name: str, n_ranks: int) -> None:
    """Raise ModelError, before anything is loaded, for a checkpoint that cannot be spread over so many devices."""
    if name.startswith(_RANDOM):
        raise ModelError(f"{name}: random weights are made on one device; leave tensor_parallel out")
    config = _load_config(name, resolve_checkpoint(name))
    if quantization_method(config) is not None:
        raise ModelError(f"{name}: quantised weights cannot be spread by heads; leave tensor_parallel out")
    check_heads(name, config, n_ranks)


def _quantized(name: str, config: Any, wishes: _Wishes) -> dict[str, Any]:
    """Wishes that go with quantised weights: they cannot move later, so that they are made where they shall be.

    Raises ModelError where the checkpoint is quantised already and another quantisation is wanted.
    """
    method = quantization_method(config)
    if method is None and wishes.quantization is None:
        return {}
    if method is not None:
        if wishes.quantization is not None:
            raise ModelError(f"{name}: the checkpoint is quantised with {method} already; leave quantization out")
        check_packages(f"{name}: the checkpoint is quantised with {method}, which", method)
    return {"device_map": wishes.device_map or {"": wishes.device}}


def _adapt(model_type: str, checkpoint: Checkpoint) -> Adapter:
    module = import_module(f"hermes_stream.models.{model_type}")
    try:
        adapter: Adapter = getattr(module, _FAMILIES[model_type])(checkpoint)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{checkpoint.name}: a setting of its preprocessor or of {DEFAULTS_FILE} has a value that it cannot have "
            f"({first_line(error)}); take the checkpoint's original files"
        ) from error
    return adapter


def _load_random(name: str, wishes: _Wishes) -> Adapter:
    """A model of a published shape with random weights; on the device "meta" without any memory for them."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    shape = name.removeprefix(_RANDOM)
    if shape not in RANDOM_CONFIGS:
        raise ModelError(unknown_name("random model", shape, RANDOM_CONFIGS))
    if wishes.device_map is not None:
        raise ConfigError(f"{name}: random weights are made on one device; give device instead of device_map")
    if wishes.quantization is not None:
        raise ConfigError(f"{name}: random weights are not quantised; give a checkpoint, or leave quantization out")
    model_type = RANDOM_CONFIGS[shape]["model_type"]
    config = AutoConfig.for_model(**RANDOM_CONFIGS[shape])
    with torch.device(wishes.device):
        model = AutoModelForImageTextToText.from_config(config, dtype=wishes.dtype or torch.bfloat16)
    checkpoint = Checkpoint(
        name=name,
        model=model.eval(),
        tokenizer=AutoTokenizer.from_pretrained(bundled_models()[DEFAULT_MODEL]),
        preprocessor=PREPROCESSORS[model_type],
        stop_token_ids=frozenset(),
        defaults={},
        max_pixels=wishes.max_pixels,
        text_positions=wishes.text_positions,
    )
    return _adapt(model_type, checkpoint)


def resolve_checkpoint(name: str) -> str:
    """The folder of a bundled or a local checkpoint, or a hub id as it is. Raises ModelError for anything else."""
    bundled = bundled_models()
    if name in bundled:
        return str(bundled[name])
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise ModelError(f"{name}: the folder has no {CONFIG_FILE}; give a checkpoint folder in the HF format")
        return str(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise ModelError(unknown_name("model", name, bundled) + "; or give a checkpoint folder or a hub id owner/name")


def _load_config(name: str, place: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name}: cannot read the checkpoint's config ({first_line(error)})") from error


def _load_checkpoint(name: str, place: str, wishes: _Wishes) -> Checkpoint:
    from transformers import AutoTokenizer

    if Path(place).is_dir():
        check_folder(name, Path(place))
    settings = preprocessor_settings(name, place)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name}: cannot load the tokenizer ({first_line(error)})") from error
    model = _load_weights(name, place, wishes)
    stops = model.generation_config.eos_token_id
    stops = [stops] if isinstance(stops, int) else list(stops or [])
    if tokenizer.eos_token_id is not None:
        stops.append(tokenizer.eos_token_id)
    return Checkpoint(
        name=name,
        model=model,
        tokenizer=tokenizer,
        preprocessor=settings,
        stop_token_ids=frozenset(stops),
        defaults=find_json(place, DEFAULTS_FILE) or {},
        max_pixels=wishes.max_pixels,
        text_positions=wishes.text_positions,
    )


def _load_weights(name: str, place: str, wishes: _Wishes) -> Any:
    """The stock model. transformers fills in what is missing or has another shape; here both are refused."""
    from transformers import AutoModelForImageTextToText

    dtype = wishes.dtype or (torch.float32 if wishes.device == "cpu" else "auto")
    wanted = {"device_map": wishes.device_map, "quantization_config": wishes.quantization}
    wanted = {option: value for option, value in wanted.items() if value is not None}
    if wishes.n_ranks > 1:
        wanted["distributed_config"] = sharding(wishes.n_ranks)
    with _quiet(has_bar=name not in bundled_models() and sys.stderr.isatty()):
        try:
            model, found = AutoModelForImageTextToText.from_pretrained(
                place, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **wanted
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise ModelError(f"{name}: cannot load the checkpoint ({first_line(error)})") from error
    if found["mismatched_keys"]:
        tensor, here, expected = min(found["mismatched_keys"])
        raise ModelError(
            f"{name}: {tensor} has the shape {list(here)}, the config asks for {list(expected)} "
            f"(and {len(found['mismatched_keys']) - 1} more); take config and weights of one checkpoint"
        )
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"{name}: the weights lack {missing[0]} and {len(missing) - 1} more; take the whole checkpoint"
        )
    if wishes.device_map is None and wishes.n_ranks == 1:
        model = model.to(wishes.device)
    check_placement(name, model)
    return model.eval()


@contextmanager
def _quiet(*, has_bar: bool) -> Iterator[None]:
    """Without transformers' tables about weights, of which one line is said here; a bar if somebody waits for it."""
    from transformers.utils import logging

    had_bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    if not has_bar:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def supported_families() -> tuple[str, ...]:
    """Model types, as `config.json` names them, that have an adapter."""
    return tuple(_FAMILIES)
