"""`hermes-stream doctor`: good on all families, and able to see a mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hermes_stream.engine import batch
from tests.cli.conftest import Done
from tests.tiny import save_checkpoint

Command = Callable[..., Done]


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_every_family_passes(command: Command, tmp_path: Path, family: str) -> None:
    folder = save_checkpoint(family, tmp_path / family)
    done = command("doctor", "--model", folder, "--json")
    assert done.status == 0, done.err
    assert len(done.rows) == 4
    assert all(row["good"] for row in done.rows)
    assert "transformers" in done.err


def test_bundled_model_in_half_precision_passes(command: Command) -> None:
    done = command("doctor", "--dtype", "bfloat16")
    assert done.status == 0, done.err + done.out
    assert done.out.count("✓") == 4


def test_a_wrong_rotation_is_found(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries turned the other way round."""
    rotate = batch.rotate
    calls = 0

    def wrong(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return rotate(x, cos, -sin if calls % 2 else sin)

    monkeypatch.setattr(batch, "rotate", wrong)
    done = command("doctor")
    assert done.status == 1
    assert "✗ chunked equals" in done.out
    assert "checks failed" in done.err
