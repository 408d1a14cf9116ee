"""Folders of a stage: what it is resumed from, and what lies beside the finished weights."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hermes_stream.errors import ConfigError
from hermes_stream.models.load import DEFAULTS_FILE, bundled_models

_LOG = logging.getLogger(__name__)
# What a checkpoint folder holds beside weights and tokenizer.
_SIDE_FILES = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    DEFAULTS_FILE,
)


def newest_whole_checkpoint(out: Path) -> Path:
    """What a stage goes on from. A checkpoint that was interrupted while it was written is passed over, and said.

    Raises ConfigError where there is none.
    """
    folders = sorted(out.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step, reverse=True)
    for folder in folders:
        if _is_whole(folder):
            return folder
        _LOG.warning("%s is not whole; an older checkpoint is taken", folder)
    raise ConfigError(f"{out} holds no whole checkpoint to resume from; leave --resume out to begin anew")


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _is_whole(folder: Path) -> bool:
    """The trainer writes its state last."""
    try:
        state = json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and state.get("global_step") == _step(folder)


def restore_type(model: str, out: Path) -> None:
    """Give finished weights the type of those that the stage began with; it trains in float32."""
    dtype = AutoConfig.from_pretrained(_place(model)).dtype
    if dtype not in (None, torch.float32):
        AutoModelForImageTextToText.from_pretrained(out, dtype=dtype).save_pretrained(out)


def _place(model: str) -> Path:
    return bundled_models().get(model, Path(model))


def copy_side_files(model: str, out: Path) -> None:
    """Preprocessing, chat template and stream defaults, from the checkpoint that a stage began with, if it has them."""
    source = _place(model)
    for name in _SIDE_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
