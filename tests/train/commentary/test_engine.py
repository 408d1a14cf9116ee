"""A chunk as the collator lays it out is what a narrated session holds, row by row."""

from __future__ import annotations

from dataclasses import replace

import torch

from hermes_stream import Engine, KeepAll
from hermes_stream.models.load import load_adapter
from hermes_stream.train.commentary.layout import TextLimits
from hermes_stream.video.excerpt import read_frames_at
from tests.train.commentary.conftest import FPS, RECORDS, VIDEO, Workplace

# Keys and values of the layers, float32, after twelve layers.
_TOLERANCE = {"atol": 2e-4, "rtol": 1e-3}


@torch.no_grad()
def test_a_narrated_session_holds_what_the_collator_lays_out(workplace: Workplace) -> None:
    """Its positions, and its values in the last layer, of which every id, position and the mask decide."""
    record = replace(RECORDS[0], asked=(), previous="circle red")
    setup = workplace.setup(limits=TextLimits())
    chunk = setup.dataset.sample(record).chunk
    batch = setup.trainer.data_collator([setup.dataset.sample(record)])
    batch.pop("labels")
    model = setup.model.eval()
    cache = model(**setup.frames.model_inputs(model, batch), use_cache=True).cache
    with Engine(load_adapter(str(workplace.model), dtype="float32")) as engine, engine.open(KeepAll()) as session:
        narration = session.narrate(record.query, previous=record.previous)
        for second in range(3):
            times = [second + index / FPS for index in range(int(FPS))]
            narration.round(second, read_frames_at(workplace.videos / VIDEO, times), speaks=False)
            said = [word.text for word in record.words if second < word.end_seconds <= second + 1]
            _say(engine, session, said)
        layers = session.memory.layers
        position_RN = layers[0].table.position_RHN[:, 0]
        n = position_RN.shape[1]
        value_KND = layers[-1].slab.values(n)
    # The newest reply becomes memory with the next round.
    assert chunk.ids_T.numel() - 40 < n < chunk.ids_T.numel()
    assert torch.equal(position_RN, chunk.position_RT[:, :n])
    torch.testing.assert_close(value_KND, cache.layers[-1].values[0, :, :n], **_TOLERANCE)


def _say(engine: Engine, session: object, words: list[str]) -> None:
    """As if the model had said them about the newest frames."""
    prompts = engine.commentary
    ids = [token for word in words for token in engine._adapter.token_ids(prompts.spoken(word))]
    ids += engine._adapter.token_ids(prompts.silence)
    stream = session.stream  # type: ignore[attr-defined]
    stream.commentary = replace(stream.commentary, reply=tuple(ids))
