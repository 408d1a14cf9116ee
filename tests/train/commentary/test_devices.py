"""One stage on two processes is the same stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hermes_stream.train.commentary.training import run_stage
from tests.train.commentary.conftest import Workplace

_SETTINGS = {"logging_steps": 1, "lr_scheduler_type": "constant", "warmup_steps": 0, "bf16": False}


@pytest.mark.slow
def test_two_processes_log_the_same_losses_and_end_with_the_same_weights(qwen: Workplace, tmp_path: Path) -> None:
    alone = run_stage(qwen.stage(tmp_path / "alone", max_steps=2, more=_SETTINGS))
    (tmp_path / "settings.json").write_text(json.dumps(_SETTINGS))
    (tmp_path / "command.py").write_text("from hermes_stream.cli.main import main\nmain()\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments: list[object] = [
        "train", "commentary", qwen.records, "--model", qwen.model, "--videos", qwen.videos, "--out", tmp_path / "both",
        "--fps", 2, "--previous-head", 4, "--previous-tail", 4, "--max-steps", 2, "--batch", 1, "--accumulation", 1,
        "--learning-rate", 1e-3, "--no-gradient-checkpointing", "--settings", tmp_path / "settings.json",
    ]  # fmt: skip
    command = [*launch, str(tmp_path / "command.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "both" / "trainer_state.json").read_text())["log_history"]
    for name in ("loss", "grad_norm"):
        expected = [row[name] for row in alone if name in row]
        assert [row[name] for row in together if name in row] == pytest.approx(expected, rel=1e-4)
    weights = load_file(tmp_path / "both" / "model.safetensors")
    for name, weight in load_file(tmp_path / "alone" / "model.safetensors").items():
        assert (weight - weights[name]).abs().max() < 1e-4
