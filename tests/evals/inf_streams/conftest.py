"""A tiny published folder, and a model that narrates it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_stream.engine.engine import Engine
from hermes_stream.models.load import load_adapter
from tests.evals.inf_streams.published import write


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("inf-streams") / "data")


@pytest.fixture(scope="package")
def engine() -> Iterator[Engine]:
    with Engine(load_adapter("tiny-llava-onevision")) as engine:
        yield engine
