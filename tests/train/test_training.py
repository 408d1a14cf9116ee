"""The training code runs: pixels, labels, two steps of each phase, and a folder that loads again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerFast

from hermes_stream.models.preprocess import FixedSizePreprocessor
from hermes_stream.shapestream import make_script
from hermes_stream.train.architecture import FRAME_PIXELS, TOKENS_PER_FRAME, make_model
from hermes_stream.train.checkpoint import save_checkpoint
from hermes_stream.train.collate import Collator
from hermes_stream.train.curriculum import STAGES, stage_at
from hermes_stream.train.evaluate import StockAnswerer, accuracy_table, grade_seeds
from hermes_stream.train.loop import Progress, Trainer, cache_features
from hermes_stream.train.model_card import make_model_card
from hermes_stream.train.pixels import PREPROCESSOR_SETTINGS, make_clip, normalise, resize, through_codec
from hermes_stream.train.vision import HEADS, frame_labels, warm_up
from tests.train.conftest import random_clip, small_model


def test_clips_hold_resized_frames_of_a_training_seed() -> None:
    clip = make_clip(17, 5, 1.0)
    assert clip.pixels_FCYX.shape == (5, 3, FRAME_PIXELS, FRAME_PIXELS)
    assert clip.pixels_FCYX.dtype == torch.uint8
    assert clip.times_seconds[-1] + 1 / clip.fps <= clip.script.scenes[-1].end_seconds


def test_cached_pixels_equal_the_engine_s_preprocessing() -> None:
    from hermes_stream.shapestream import render_frame

    script = make_script(1, 20.0)
    frames = through_codec([render_frame(script, time, 160, 90) for time in (3.0, 9.0)], crf=23)
    direct = FixedSizePreprocessor.from_settings(PREPROCESSOR_SETTINGS)(frames)
    torch.testing.assert_close(normalise(resize(frames)), direct, atol=1e-6, rtol=0)


def test_frame_labels_name_what_is_on_screen() -> None:
    script = make_script(5, 200.0)
    presence = next(p for p in script.presences if p.count == 1 and not p.moves and p.slot == "middle")
    labels = dict(zip(HEADS, frame_labels(script, presence.start_seconds + 1.0), strict=True))
    assert labels["count"] == 1
    assert labels["place"] == HEADS["place"] // 2
    assert all(label >= 0 for label in labels.values())
    sliding = dict(zip(HEADS, frame_labels(script, presence.start_seconds + 0.05), strict=True))
    assert sliding["shape"] == -1 or not presence.slides_in


def test_the_vision_warm_up_runs_and_scales_features(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(tokenizer, 0)
    clip = make_clip(3, 24, 0.5)
    losses: list[float] = []
    result = warm_up(model, [clip], n_steps=3, batch_frames=8, on_step=lambda step, loss: losses.append(loss))
    assert len(losses) == 3
    assert set(result.accuracy) == set(HEADS)
    features = cache_features(model, [clip])[0].features_FNE
    assert features.shape == (24, TOKENS_PER_FRAME, 192)
    assert features.float().std().item() == pytest.approx(1.0, abs=0.05)


def test_two_steps_of_question_training_run(tokenizer: PreTrainedTokenizerFast, collator: Collator) -> None:
    model = small_model(tokenizer)
    clips = [random_clip(seed) for seed in range(4)]
    trainer = Trainer(model, collator, clips, clips, seed=0)
    before = model.lm_head.weight.clone()
    stage = replace(STAGES[1], batch_tokens=300)
    assert all(trainer.train_step(stage, 1.0) > 0 for _ in range(2))
    assert not torch.equal(before, model.lm_head.weight)
    assert all(0 <= share <= 1 for share in trainer.evaluate(stage.plan, n_batches=1).values())


def test_a_timed_run_reports_progress(tokenizer: PreTrainedTokenizerFast, collator: Collator) -> None:
    clips = [random_clip(seed) for seed in range(2)]
    curve: list[Progress] = []
    trainer = Trainer(small_model(tokenizer), collator, clips, clips, seed=0)
    trainer.run(0.2, curve.append, report_seconds=0.0)
    assert curve
    assert trainer.step >= len(curve)


def test_the_curriculum_ends_with_its_last_stage() -> None:
    assert stage_at(0.0) is STAGES[0]
    assert stage_at(0.999) is stage_at(1.0) is STAGES[-1]
    assert [stage.until for stage in STAGES] == sorted(stage.until for stage in STAGES)


def test_a_checkpoint_is_an_ordinary_folder_that_answers(
    tokenizer: PreTrainedTokenizerFast, collator: Collator, tmp_path: Path
) -> None:
    model = make_model(tokenizer, 0)
    Trainer(model, collator, [], [], seed=0)
    folder = tmp_path / "tiny"
    facts = _facts()
    save_checkpoint(model, tokenizer, folder, model_card=make_model_card(facts), curve=facts)
    assert not list(tmp_path.glob(".tiny*"))
    loaded = AutoModelForImageTextToText.from_pretrained(folder)
    assert loaded.dtype == torch.bfloat16
    assert loaded.config.text_config.num_hidden_layers == 10
    assert AutoTokenizer.from_pretrained(folder).eos_token_id == loaded.generation_config.eos_token_id
    assert set(json.loads((folder / "hermes_stream.json").read_text())) == {"fps", "chunk", "budget"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12 * 2**20
    graded = list(grade_seeds(StockAnswerer(folder), [900_000], n_frames=6, every_seconds=3.0))
    assert graded
    assert accuracy_table(graded)["regimes"]


def _facts() -> dict[str, object]:
    return {
        "recipe": {"minutes": 1.0, "seed": 0, "n_vision_steps": 2},
        "made": "Made by hand.",
        "seconds": 60,
        "n_parameters": 5_000_000,
        "n_steps": 2,
        "vision": {"shape": 0.5},
        "evaluation": {"regimes": {"real-time": {"accuracy": 0.5, "n": 2}}, "tasks": {}},
    }
