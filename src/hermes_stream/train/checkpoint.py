"""A trained model as an ordinary Hugging Face folder, written beside its place and moved in at the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast

from hermes_stream.models.load import DEFAULTS_FILE
from hermes_stream.train.families import Family
from hermes_stream.train.tokenizer import IM_END


def save_checkpoint(
    family: Family,
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    model_card: str,
    curve: Mapping[str, Any],
) -> None:
    """Write config, bfloat16 weights, tokenizer, preprocessing, stream defaults, model card and learning curve.

    An existing folder is replaced file by file, each one complete at every moment.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _save_model(model, tokenizer, temporary)
    tokenizer.save_pretrained(temporary)
    for name, settings in family.processors.items():
        _write_json(temporary / name, settings)
    _write_json(temporary / DEFAULTS_FILE, family.stream_defaults)
    write_facts(temporary, curve, model_card)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(temporary.iterdir()):
        os.replace(path, folder / path.name)
    temporary.rmdir()


def write_facts(folder: Path, curve: Mapping[str, Any], model_card: str) -> None:
    """The learning curve with all facts of the run, and the model card."""
    _write_json(folder / "training_curve.json", curve)
    (folder / "README.md").write_text(model_card, encoding="utf-8")


def _save_model(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a fresh model with the same weights: the trained one carries the training attention in its configuration."""
    config = type(model.config).from_dict(model.config.to_dict())
    plain = type(model)(config).to(torch.bfloat16)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = GenerationConfig(
        eos_token_id=tokenizer.convert_tokens_to_ids(IM_END), pad_token_id=tokenizer.pad_token_id
    )
    plain.save_pretrained(folder)
    # The library writes weights that only their owner can read; a package's files are for everyone.
    (folder / "model.safetensors").chmod(0o644)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
