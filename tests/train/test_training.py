"""The training code runs: pixels, labels, two steps of each phase, and a folder that loads again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from hermes_stream.engine.engine import load_model
from hermes_stream.models.load import load_adapter
from hermes_stream.shapestream import TASKS, Viewpoint, make_script, question_at, render_frame
from hermes_stream.shapestream.script import Dice
from hermes_stream.train.checkpoint import save_checkpoint
from hermes_stream.train.curriculum import STAGES, stage_at
from hermes_stream.train.evaluate import accuracy_table, grade_seeds
from hermes_stream.train.evidence import find_evidence, shows
from hermes_stream.train.loop import Progress, Trainer
from hermes_stream.train.model_card import make_model_card
from hermes_stream.train.pixels import make_clip, normalise, resize, through_codec
from hermes_stream.train.vision import HEADS, encode_clip, frame_labels, resample, warm_up
from tests.train.conftest import HIDDEN, Workshop, workshop_of


def test_clips_hold_resized_frames_of_a_training_seed(workshop: Workshop) -> None:
    clip = make_clip(workshop.family, 17, 5, 1.0)
    assert clip.pixels_FCYX.shape[:2] == (5, 3)
    assert clip.pixels_FCYX.dtype == torch.uint8
    assert clip.shape == workshop.family.grid_shape(*clip.pixels_FCYX.shape[2:])
    assert clip.times_seconds[-1] + 1 / clip.fps <= clip.script.scenes[-1].end_seconds


@pytest.mark.parametrize(("width", "height"), [(640, 360), (320, 180), (160, 120), (128, 128), (108, 192)])
def test_frames_become_few_tokens_whatever_their_shape(workshop: Workshop, width: int, height: int) -> None:
    rows, columns = workshop.family.grid_shape(*workshop.family.frame_size(height, width))
    assert 4 <= rows * columns <= 6


def test_cached_pixels_equal_the_engine_s_preprocessing(llava: Workshop, tmp_path: Path) -> None:
    script = make_script(1, 20.0)
    frames = through_codec([render_frame(script, time, 160, 90) for time in (3.0, 9.0)], crf=23)
    save_checkpoint(llava.family, llava.model(), llava.tokenizer, tmp_path / "tiny", model_card="", curve={})
    adapter = load_adapter(str(tmp_path / "tiny"))
    direct = adapter._preprocess(frames)  # type: ignore[attr-defined]
    torch.testing.assert_close(normalise(resize(frames, *llava.family.frame_size(90, 160))), direct, atol=1e-6, rtol=0)


def test_frame_labels_name_what_is_on_screen() -> None:
    script = make_script(5, 200.0)
    presence = next(p for p in script.presences if p.count == 1 and not p.moves and p.slot == "middle")
    labels = dict(zip(HEADS, frame_labels(script, presence.start_seconds + 1.0), strict=True))
    assert labels["count"] == 1
    assert labels["place"] == HEADS["place"] // 2
    assert all(label >= 0 for label in labels.values())
    sliding = dict(zip(HEADS, frame_labels(script, presence.start_seconds + 0.05), strict=True))
    assert sliding["shape"] == -1 or not presence.slides_in


def test_the_vision_warm_up_runs_and_scales_features(llava: Workshop) -> None:
    family, model = llava.family, llava.model()
    clips = [make_clip(family, seed, 12, 0.5) for seed in (3, 4)]
    losses: list[float] = []
    result = warm_up(family, model, clips, n_steps=3, batch_grids=8, on_step=lambda _, loss: losses.append(loss))
    assert len(losses) == 3
    assert set(result.accuracy) == set(HEADS)
    features = encode_clip(family, model, clips[0]).features_FNE
    assert features.shape[:2] == (12, 4)
    assert features.float().std().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", ["tiny-qwen2.5-vl", "tiny-qwen3-vl"])
def test_a_tower_learns_from_its_teacher(name: str) -> None:
    workshop = workshop_of(name)
    family, model = workshop.family, workshop.model()
    clip = make_clip(family, 3, 8, 2.0, teacher=lambda frames: torch.zeros(len(frames), 4, HIDDEN))
    losses: list[float] = []
    warm_up(family, model, [clip, clip], n_steps=3, batch_grids=4, on_step=lambda _, loss: losses.append(loss))
    assert len(losses) == 3


def test_a_teacher_s_cells_are_spread_over_another_grid() -> None:
    taught = torch.tensor([[0.0], [1.0], [2.0], [3.0]])[None]
    assert resample(taught, (2, 3))[0, :, 0].tolist() == [0.0, 0.5, 1.0, 2.0, 2.5, 3.0]
    assert resample(taught, (2, 2)) is taught


def test_evidence_is_the_presence_that_an_answer_names() -> None:
    script, dice, n_checked = make_script(8, 90.0), Dice(0), 0
    for second in range(20, 88, 3):
        view = Viewpoint(script, float(second), 2.0)
        for task in TASKS:
            question = question_at(view, task, dice)
            if question is None:
                continue
            evidence = find_evidence(view, question)
            for part, presence in zip(question.answer.split(", "), evidence, strict=False):
                names = {"in_room": str(presence.kind), "which_room": presence.room, "color_of": presence.kind.color}
                names |= dict.fromkeys(("before", "first", "last_objects"), str(presence.kind))
                assert part == names.get(task, "yes")
                n_checked += 1
    assert n_checked > 50


def test_grids_show_a_presence_between_entering_and_leaving() -> None:
    presence = make_script(8, 90.0).presences[1]
    middle = (presence.start_seconds + presence.end_seconds) / 2
    times = torch.tensor([presence.start_seconds, middle, presence.end_seconds]).double().numpy()
    assert shows(presence, times).tolist() == [False, True, False]


def test_two_steps_of_question_training_run(workshop: Workshop) -> None:
    model = workshop.model()
    clips = [workshop.clip(seed) for seed in range(4)]
    trainer = Trainer(model, workshop.collator, clips, clips, seed=0)
    before = model.lm_head.weight.clone()
    stage = replace(STAGES[1], batch_tokens=300)
    assert all(trainer.train_step(stage, 1.0) > 0 for _ in range(2))
    assert not torch.equal(before, model.lm_head.weight)
    assert all(0 <= share <= 1 for share in trainer.evaluate(stage.plan, n_batches=1).values())


def test_a_timed_run_reports_progress(llava: Workshop) -> None:
    clips = [llava.clip(seed) for seed in range(2)]
    curve: list[Progress] = []
    trainer = Trainer(llava.model(), llava.collator, clips, clips, seed=0)
    trainer.run(0.2, curve.append, report_seconds=0.0)
    assert curve
    assert trainer.step >= len(curve)


def test_the_curriculum_ends_with_its_last_stage() -> None:
    assert stage_at(0.0) is STAGES[0]
    assert stage_at(0.999) is stage_at(1.0) is STAGES[-1]
    assert [stage.until for stage in STAGES] == sorted(stage.until for stage in STAGES)


def test_a_checkpoint_is_an_ordinary_folder_that_answers(workshop: Workshop, tmp_path: Path) -> None:
    family = workshop.family
    model = AutoModelForImageTextToText.from_config(family.make_config(workshop.tokenizer))
    Trainer(model, workshop.collator, [], [], seed=0)
    folder = tmp_path / "tiny"
    facts = _facts(type(model).__name__)
    save_checkpoint(family, model, workshop.tokenizer, folder, model_card=make_model_card(family, facts), curve=facts)
    assert not list(tmp_path.glob(".tiny*"))
    loaded = AutoModelForImageTextToText.from_pretrained(folder)
    assert loaded.dtype == torch.bfloat16
    assert loaded.config.text_config.num_hidden_layers == 10
    assert AutoTokenizer.from_pretrained(folder).eos_token_id == loaded.generation_config.eos_token_id
    assert set(json.loads((folder / "hermes_stream.json").read_text())) == {"fps", "chunk", "budget"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 11 * 2**20
    with load_model(str(folder)) as engine:
        graded = list(grade_seeds(engine, [900_000], ["keep-all", "hermes"], seconds=6.0))
    assert {item.memory for item in graded} == {"keep-all", "hermes"}
    assert accuracy_table(graded)["regimes"]


def _facts(architecture: str) -> dict[str, object]:
    table = {"held_tokens_max": 9, "regimes": {"real-time": {"accuracy": 0.5, "n": 2}}, "tasks": {}}
    return {
        "architecture": architecture,
        "made": "Made by hand.",
        "n_parameters": 5_000_000,
        "vision": {"shape": 0.5},
        "evaluation": {"keep-all": table, "hermes": table},
    }
