"""The bundled tiny model that comments: what it begins with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken, AutoModelForImageTextToText, AutoTokenizer

from hermes_stream.models.load import DEFAULTS_FILE, bundled_models

BASE = "tiny-qwen2.5-vl"
NAME = "tiny-qwen2.5-vl-commentary"
# Words of commentary that the base's tokenizer would spell; the silence marker is one token, as in large models.
NEW_WORDS = (" ...", " enters", " leaves", " turns")
# Times in digits would cost more tokens than the frames.
SETTINGS = {"time": "", "default_instruction": "Describe the events."}
# Rows of sixteen rounds and 128 words of before.
BUDGET = 640


def make_start(folder: Path) -> Path:
    """Write a checkpoint folder: the base with words of its own for commentary."""
    source = bundled_models()[BASE]
    tokenizer = AutoTokenizer.from_pretrained(source)
    known = len(tokenizer)
    spelled = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for word in NEW_WORDS}
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in NEW_WORDS])
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    _begin_with_spelling(model, [spelled[word] for word in NEW_WORDS], known)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        shutil.copyfile(source / name, folder / name)
    defaults = json.loads((source / DEFAULTS_FILE).read_text()) | {"budget": BUDGET, "commentary": SETTINGS}
    (folder / DEFAULTS_FILE).write_text(json.dumps(defaults, indent=2) + "\n")
    return folder


@torch.no_grad()
def _begin_with_spelling(model: Any, spelled: list[list[int]], known: int) -> None:
    """A new word's rows are the mean of its old tokens' rows."""
    for weight in (model.get_input_embeddings().weight, model.lm_head.weight):
        for index, ids in enumerate(spelled):
            weight[known + index] = weight[ids].mean(dim=0)
