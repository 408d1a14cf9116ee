"""Shared fixtures: small random checkpoints in the real format, and frames with something on them."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "NO")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hermes_stream import Engine
from hermes_stream.models.load import load_adapter

from .tiny import save_llava_onevision


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side; more threads each would only fight."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA-OneVision: 12 layers, 3 x 3 tokens a frame, 512 positions."""
    return save_llava_onevision(tmp_path_factory.mktemp("checkpoints") / "random-llava")


@pytest.fixture(scope="session")
def engine(llava_folder: Path) -> Iterator[Engine]:
    with Engine(load_adapter(str(llava_folder))) as engine:
        yield engine
