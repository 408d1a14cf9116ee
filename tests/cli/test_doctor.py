"""`hermes-stream doctor`: good on all families, and able to see a mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hermes_stream.cli import doctor
from hermes_stream.cli.model_options import ModelOptions
from hermes_stream.engine import batch
from hermes_stream.models.load import load_adapter
from tests.cli.conftest import Done
from tests.tiny import save_checkpoint

Command = Callable[..., Done]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_every_family_passes(command: Command, tmp_path: Path, family: str, dtype: str) -> None:
    folder = save_checkpoint(family, tmp_path / family)
    done = command("doctor", "--model", folder, "--json", "--dtype", dtype)
    assert done.status == 0, done.err + done.out
    assert len(done.rows) == 4
    assert all(row["good"] for row in done.rows)
    assert {row["tolerance"] for row in done.rows} == {5e-2 if dtype == "bfloat16" else 1e-4}
    assert "verdict: 4 of 4 checks good" in done.err


def test_text_in_overlap_with_the_video_passes(command: Command, tmp_path: Path) -> None:
    folder = save_checkpoint("qwen2_5_vl", tmp_path / "qwen2_5_vl")
    done = command("doctor", "--model", folder, "--text-positions", "overlap")
    assert done.out.count("✓") == 4, done.err + done.out


def test_it_says_what_is_in_use_and_why(command: Command) -> None:
    err = command("doctor").err
    for words in (
        "transformers 5.",
        "device: cpu, because PyTorch sees no accelerator",
        "dtype: float32, because on most CPUs",
        "un-rotated keys, because",
        "attention of frames: PyTorch's scaled_dot_product_attention",
        "attention of questions and probes",
    ):
        assert words in err
    err = command("doctor", "--dtype", "bfloat16", "--device", "cpu").err
    assert "device: cpu, because cpu was asked for" in err
    assert "dtype: bfloat16, because it was asked for" in err


# Layers, key/value heads, head size and parameters (in units of 1e9) of the published checkpoints.
LARGE = [
    ("qwen2.5-vl-32b", 64, 8, 128, 33.5),
    ("qwen2.5-vl-72b", 80, 8, 128, 73.4),
    ("llava-onevision-72b", 80, 8, 128, 73.2),
    ("qwen3-vl-32b", 64, 8, 128, 33.4),
]


@pytest.mark.parametrize(("name", "n_layers", "n_heads", "head_dim", "billions"), LARGE)
def test_large_models_report_their_bytes_without_weights(
    command: Command, name: str, n_layers: int, n_heads: int, head_dim: int, billions: float
) -> None:
    done = command("doctor", "--model", f"random:{name}", "--device", "meta", "--json")
    assert done.status == 0, done.err
    (sizes,) = done.rows
    assert sizes["parameters"] / 1e9 == pytest.approx(billions, abs=0.1)
    assert sizes["weight_bytes"] == 2 * sizes["parameters"]
    one_of_three = 2 * n_layers * n_heads * head_dim
    assert sizes["bytes_per_token"] == 3 * one_of_three
    assert sizes["bytes_per_token_without_unrotated_keys"] == 2 * one_of_three
    assert sizes["bytes_per_token_in_8_bits"] == 2 * n_layers * n_heads * (head_dim + 2)
    assert sizes["budget_bytes"] == sizes["budget_tokens"] * 3 * one_of_three
    assert sizes["budget_bytes_without_unrotated_keys"] == sizes["budget_tokens"] * 2 * one_of_three
    assert "checks: not run, because the device meta holds shapes and no numbers" in done.err
    assert "device: meta, because meta was asked for" in done.err


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


def test_layers_on_several_devices_are_counted() -> None:
    adapter = load_adapter()
    devices = (torch.device("cuda:0"),) * 7 + (torch.device("cuda:1"),) * 3
    facts = replace(adapter.facts, layer_devices=devices, device=torch.device("cuda:0"))
    lines = list(doctor._reasons(facts, doctor._sizes(adapter), ModelOptions(device_map="auto")))
    assert "device: cuda:0, because auto was asked for" in lines
    assert "layers: 7 on cuda:0, 3 on cuda:1, each with its part of the memory beside it" in lines
    assert "dtype: float32, because the checkpoint has it" in lines
