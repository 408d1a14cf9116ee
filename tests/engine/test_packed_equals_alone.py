"""Law 7: a session in a packed batch gets what it gets alone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, KeepAll, SlidingWindow
from hermes_stream.engine.batch import PackedBatch
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy
from tests.engine.direct import make_task, open_direct, question_logits, watch_direct, watch_packed
from tests.tiny import make_frames


@pytest.mark.parametrize(
    "policies",
    [(KeepAll(), SlidingWindow(budget=20)), (SlidingWindow(budget=27), SlidingWindow(budget=40, positions="compact"))],
    ids=["keep-all beside a window", "two windows"],
)
def test_two_sessions_packed_equal_two_alone(llava_folder: Path, policies: tuple[Policy, Policy]) -> None:
    # Rounding out of the way, so that any difference is a mistake.
    adapter = load_adapter(str(llava_folder), dtype="float64")
    clips = [make_frames(10, seed=1), make_frames(10, seed=2)]
    ragged = [((0, 2), (0, 1)), ((2, 4), (1, 4)), ((4, 7), (4, 6)), ((7, 8), (6, 8)), ((8, 10), (8, 10))]
    alone = [open_direct(adapter, policy) for policy in policies]
    packed = [open_direct(adapter, policy) for policy in policies]
    for spans in ragged:
        batches = [clip[start:stop] for clip, (start, stop) in zip(clips, spans, strict=True)]
        watch_packed(packed, batches)
        for stream, batch in zip(alone, batches, strict=True):
            watch_direct(stream, batch, len(batch))
    tasks = [make_task(stream, "red or green?")[0] for stream in packed]
    with torch.inference_mode():
        batch = PackedBatch([task.segment() for task in tasks], adapter.rope)
        logits_LV = adapter.logits(adapter.run(batch)[batch.last_rows])
    for stream, twin, logits_V in zip(alone, packed, logits_LV, strict=True):
        torch.testing.assert_close(logits_V, question_logits(stream, "red or green?"), atol=1e-9, rtol=0)
        for a, b in zip(stream.memory.current.layers, twin.memory.current.layers, strict=True):
            assert torch.equal(a.table.data_CHN, b.table.data_CHN)


def test_sessions_that_watch_and_ask_at_once_answer_as_if_alone(engine: Engine) -> None:
    """Eight threads on one engine; each asks while the others' frames and answers go through the same forwards."""
    expected = {}
    for seed in range(8):
        with engine.open(SlidingWindow(budget=30)) as session:
            session.watch(make_frames(10, seed=seed))
            expected[seed] = session.ask("Which colour?", max_new_tokens=8).result().token_ids
    got: dict[int, tuple[int, ...]] = {}

    def run(seed: int) -> None:
        with engine.open(SlidingWindow(budget=30)) as session:
            for frame in make_frames(10, seed=seed):
                session.watch(frame)
                session.ask("left?", max_new_tokens=2)
            got[seed] = session.ask("Which colour?", max_new_tokens=8).result().token_ids

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected
