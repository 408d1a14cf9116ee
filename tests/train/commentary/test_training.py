"""A stage of training: what learns, what is written, and going on after an interruption."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from hermes_stream.errors import ConfigError
from hermes_stream.models.load import load_adapter
from hermes_stream.train.commentary.layout import NO_LABEL
from hermes_stream.train.commentary.records import Record, write_records
from hermes_stream.train.commentary.training import learning_curve, run_stage
from tests.train.commentary.conftest import VIDEO, Workplace


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return {name: value.clone() for name, value in model.state_dict().items()}


def _is_vision(name: str) -> bool:
    return "language_model" not in name and not name.startswith("lm_head")


def test_the_language_model_learns_and_vision_stays_and_the_engine_loads_what_is_written(
    workplace: Workplace, tmp_path: Path
) -> None:
    before = _weights(workplace.model)
    curve = learning_curve(run_stage(workplace.stage(tmp_path / "done", max_steps=2, more={"logging_steps": 1})))
    after = _weights(tmp_path / "done")
    assert [row["step"] for row in curve] == [1, 2]
    assert curve[1]["loss"] < curve[0]["loss"]
    assert all(torch.equal(before[name], after[name]) for name in before if _is_vision(name))
    assert any(not torch.equal(before[name], after[name]) for name in before if not _is_vision(name))
    adapter = load_adapter(str(tmp_path / "done"))
    assert adapter.facts.n_layers == 12
    assert (tmp_path / "done" / "hermes_stream.json").read_bytes() == (
        workplace.model / "hermes_stream.json"
    ).read_bytes()


def test_vision_learns_where_it_is_asked_to(qwen: Workplace) -> None:
    frozen, free = qwen.setup().model, qwen.setup(trains_vision=True).model
    assert not any(p.requires_grad for name, p in frozen.named_parameters() if _is_vision(name))
    assert all(p.requires_grad for p in free.parameters())


@torch.no_grad()
def test_the_loss_is_the_mean_over_all_labels_of_a_step(qwen: Workplace) -> None:
    setup = qwen.setup()
    batch = setup.trainer.data_collator([setup.dataset[0], setup.dataset[1]])
    label_BT = batch["labels"]
    rest = {name: value for name, value in batch.items() if name != "labels"}
    log_BTV = setup.model(**rest, use_cache=False).logits.log_softmax(-1)
    losses = [
        -log_BTV[row, column - 1, label_BT[row, column]] for row, column in (label_BT != NO_LABEL).nonzero().tolist()
    ]
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(setup.trainer.compute_loss(setup.model, batch), expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_the_same_with_checkpointed_activations(qwen: Workplace, tmp_path: Path) -> None:
    for name, checkpoints in (("kept", False), ("again", True)):
        run_stage(qwen.stage(tmp_path / name, max_steps=1, checkpoints_gradients=checkpoints))
    kept, again = _weights(tmp_path / "kept"), _weights(tmp_path / "again")
    for name, weight in kept.items():
        torch.testing.assert_close(weight, again[name], atol=1e-5, rtol=1e-4)


_SAVING = {"save_steps": 2, "batch": 1}


def test_a_stage_that_was_interrupted_ends_as_if_it_had_not_been(qwen: Workplace, tmp_path: Path) -> None:
    run_stage(qwen.stage(tmp_path / "whole", max_steps=4, **_SAVING))
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "broken" / "checkpoint-2")
    run_stage(qwen.stage(tmp_path / "broken", max_steps=4, resumes=True, **_SAVING))
    whole, resumed = _weights(tmp_path / "whole"), _weights(tmp_path / "broken")
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


@pytest.mark.parametrize("damage", ["no state", "half a state"])
def test_a_checkpoint_that_is_not_whole_is_passed_over_and_said(
    qwen: Workplace, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    out = tmp_path / "out"
    run_stage(qwen.stage(out, max_steps=4, **_SAVING))
    state = out / "checkpoint-4" / "trainer_state.json"
    text = state.read_text()
    state.unlink()
    if damage == "half a state":
        state.write_text(text[: len(text) // 2])
    (out / "checkpoint-4" / "model.safetensors").write_bytes(b"half")
    with caplog.at_level(logging.WARNING, "hermes_stream"):
        history = run_stage(qwen.stage(out, max_steps=4, resumes=True, **_SAVING))
    assert "checkpoint-4 is not whole" in caplog.text
    assert history[-1]["step"] == 4
    assert load_adapter(str(out)).facts.n_layers == 12


def test_nothing_to_resume_from_is_said_before_anything_is_loaded(qwen: Workplace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no whole checkpoint to resume from"):
        run_stage(qwen.stage(tmp_path / "new", resumes=True))


def test_a_second_stage_begins_with_the_first_one_s_folder(qwen: Workplace, tmp_path: Path) -> None:
    run_stage(qwen.stage(tmp_path / "first", max_steps=1))
    write_records(tmp_path / "dense", [Record(VIDEO, 0.0, 2.0, ())])
    second = qwen.stage(tmp_path / "second", max_steps=1, model=str(tmp_path / "first"), records=(tmp_path / "dense",))
    run_stage(second)
    first, annealed = _weights(tmp_path / "first"), _weights(tmp_path / "second")
    assert any(not torch.equal(weight, annealed[name]) for name, weight in first.items())


def test_records_that_come_twice_are_seen_twice(qwen: Workplace) -> None:
    assert len(qwen.setup(records=(qwen.records, qwen.records)).dataset) == 4


# peft asks transformers 5.24 by a name that is about to go.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_lora_trains_adapters_alone_and_leaves_a_checkpoint_that_needs_no_peft(qwen: Workplace, tmp_path: Path) -> None:
    setup = qwen.setup(lora_rank=2)
    assert {name.split(".")[-3] for name, each in setup.model.named_parameters() if each.requires_grad} == {
        "lora_A", "lora_B",
    }  # fmt: skip
    run_stage(qwen.stage(tmp_path / "out", max_steps=2, lora_rank=2))
    before, after = _weights(qwen.model), _weights(tmp_path / "out")
    assert set(before) == set(after)
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert {name.split(".")[-2] for name in changed} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert not [name for name in changed if "visual" in name]
    assert load_adapter(str(tmp_path / "out")).facts.n_layers == 12


def test_lora_without_peft_is_refused_with_what_to_install(qwen: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"install hermes-stream\[train\]"):
        qwen.setup(lora_rank=4)


def test_no_records_are_refused(qwen: Workplace, tmp_path: Path) -> None:
    write_records(tmp_path / "none", [])
    with pytest.raises(ConfigError, match="no records"):
        qwen.setup(records=(tmp_path / "none",))


def test_a_rate_that_leaves_half_a_grid_in_a_second_is_refused(qwen: Workplace) -> None:
    with pytest.raises(ConfigError, match="whole grids of 2 frames"):
        qwen.setup(fps=3.0)


def test_settings_of_accelerate_reach_the_trainer(qwen: Workplace) -> None:
    more: dict[str, Any] = {"lr_scheduler_type": "constant", "max_grad_norm": 0.5}
    arguments = qwen.setup(more=more).trainer.args
    assert (arguments.lr_scheduler_type, arguments.max_grad_norm) == ("constant", 0.5)
