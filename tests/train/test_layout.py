"""What is trained is what the engine shows: prompts, positions, separators, taps, frames that wait for a partner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hermes_stream import KeepAll
from hermes_stream.models.load import load_adapter
from hermes_stream.shapestream import make_script, render_frame
from hermes_stream.train.attention import use_training_attention
from hermes_stream.train.checkpoint import save_checkpoint
from hermes_stream.train.collate import NO_LABEL, forward
from hermes_stream.train.episodes import Asked, Episode, FeatureClip
from hermes_stream.train.evidence import shows
from hermes_stream.train.pixels import resize
from hermes_stream.train.vision import encode_frames
from hermes_stream.types import Frame
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.train.conftest import Workshop

QUESTION = "What object is visible now?"


@torch.no_grad()
@pytest.mark.parametrize("n_frames", [1, 8, 9])
def test_the_engine_answers_as_the_training_forward_does(workshop: Workshop, tmp_path: Path, n_frames: int) -> None:
    family, fps = workshop.family, workshop.family.stream_defaults["fps"]
    save_checkpoint(family, workshop.model(), workshop.tokenizer, tmp_path / "tiny", model_card="", curve={})
    adapter = load_adapter(str(tmp_path / "tiny"), dtype="float32")
    script = make_script(4, 20.0)
    times = tuple(0.2 + index / fps for index in range(10))
    frames = [Frame(time, render_frame(script, time, 192, 108)) for time in times]
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames[:n_frames], 3)

    model = workshop.model().bfloat16().float()
    use_training_attention(model)
    size = family.frame_size(108, 192)
    features = encode_frames(family, model, resize(frames, *size), dtype=torch.float32)
    per_grid = family.frames_per_grid
    clip = FeatureClip(script, fps, times, features, family.grid_shape(*size), per_grid)
    waiting = n_frames - 1 if n_frames % per_grid else None
    asked = Asked("object", QUESTION, "nothing", n_frames // per_grid - 1, waiting)
    n_grids = len(times) // per_grid
    episode = Episode(clip, 0, np.zeros(n_grids), None, (asked,), np.zeros((n_grids, 0)))
    batch = workshop.collator([episode])
    assert int((batch.label_BT != NO_LABEL).sum()) == 2
    expected = question_logits(stream, QUESTION)
    torch.testing.assert_close(forward(family, model, batch)[0][0], expected, atol=5e-4, rtol=0)


def test_evidence_lies_in_the_grids_that_show_it(workshop: Workshop) -> None:
    """For the words at the end of the question and for each word of the answer, nowhere else."""
    clip = workshop.clip(seed=5, n_grids=40)
    presence = next(p for p in clip.script.presences if p.start_seconds > 5)
    times = [clip.grid_times(grid)[-1] for grid in range(40)]
    showing = shows(presence, np.array(times)).nonzero()[0]
    question = f"Which object was last in the {presence.room} room?"
    asked = Asked("in_room", question, str(presence.kind), after_grid=39, evidence=(presence,))
    batch = workshop.collator([Episode(clip, 0, np.zeros(40), None, (asked,), np.zeros((40, 0)))])
    grids = np.repeat(np.arange(40), np.diff(batch.grid_end_BG[0].numpy(), prepend=batch.grid_end_BG[0, 0].item()))
    first_row = int(batch.grid_end_BG[0, 0]) + 1
    for shown_MS in (batch.evidence.asked_BQMS[0, 0], batch.evidence.answer_BQMS[0, 0]):
        rows = shown_MS[shown_MS.any(-1)].numpy()
        assert 2 <= len(rows) <= 3
        for row in rows:
            assert set(grids[row[first_row:]]) == set(showing)
    said = batch.evidence.answer_BQMS[0, 0].any(-1).nonzero()[:, 0]
    labels = batch.label_BT[0, batch.n_stream + said].tolist()
    assert workshop.tokenizer.decode(labels).strip() == str(presence.kind)
