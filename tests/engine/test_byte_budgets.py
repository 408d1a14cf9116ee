"""A budget in bytes is the same bytes for every policy, whatever it holds: keys and values, or features."""

from __future__ import annotations

import pytest

from hermes_stream import Engine
from hermes_stream.models.load import load_adapter
from tests.tiny import make_frames, save_checkpoint

FRAMES = make_frames(32)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("memory", ["sliding-window", "recent-frames"])
def test_what_is_held_is_the_budget_but_for_less_than_one_grid(
    tmp_path_factory: pytest.TempPathFactory, family: str, memory: str
) -> None:
    """Of Qwen3-VL's features the DeepStack rows count as well: they are most of them."""
    folder = save_checkpoint(family, tmp_path_factory.mktemp("model") / family)
    with Engine(load_adapter(str(folder))) as engine:
        per_grid = held_bytes(engine, memory, engine.model.tokens_per_frame, engine.model.frames_per_grid)
        budget = round(6.5 * per_grid)
        held = held_bytes(engine, memory, f"{budget}B", len(FRAMES))
        # Words between Qwen3-VL's grids differ by a token or two, and its budgets allow for the longest.
        assert budget - 2.5 * per_grid < held <= budget


def held_bytes(engine: Engine, memory: str, budget: str | int, n_frames: int) -> int:
    """Beside the prefix, after whole intervals."""
    with engine.open(memory, budget=budget, chunk=engine.model.frames_per_grid) as session:
        prefix_bytes = session.stats.memory_bytes
        session.watch(FRAMES[:n_frames])
        return session.stats.memory_bytes - prefix_bytes
