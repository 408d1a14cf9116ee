"""`hermes-stream map`, and that its pictures show what the tables say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hermes_stream import KeepAll, SlidingWindow, load_model
from hermes_stream.viz.held_patches import dim_evicted, held_cells
from hermes_stream.viz.memory_map import held_share, summarised_tokens
from tests.cli.conftest import Done
from tests.tiny import make_frames

Command = Callable[..., Done]


def test_map_writes_both_pictures(command: Command, episode: tuple[Path, Path], tmp_path: Path) -> None:
    done = command("map", episode[0], "--out", tmp_path, "--question", "20=Which room is this?", "--layer", 3)
    assert done.status == 0, done.err
    for name in ("memory.png", "patches.png"):
        with Image.open(tmp_path / name) as picture:
            assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50
        assert str(tmp_path / name) in done.err
    wrong = command("map", episode[0], "--out", tmp_path, "--layer", 99)
    assert wrong.status == 2
    assert "layers 0 to 9" in wrong.err


def test_shares_are_those_of_the_tables() -> None:
    with load_model() as engine, engine.open(SlidingWindow(budget=16)) as session, engine.open(KeepAll()) as whole:
        for one in (session, whole):
            one.watch(make_frames(12))
        share = held_share(session.memory, 4)
        assert share.shape == (10, 12)
        assert share[:, -4:].min() == 1
        assert share[:, :-4].max() == 0
        assert held_share(whole.memory, 4).min() == 1
        assert summarised_tokens(session.memory) == [0] * 10
        assert held_cells(session.memory, 2, 11).all()
        assert not held_cells(session.memory, 2, 0).any()


def test_evicted_cells_are_dimmed_where_they_are() -> None:
    image = np.full((10, 20, 3), 200, np.uint8)
    dimmed = dim_evicted(image, np.array([[True, False], [False, True]]))
    assert (dimmed[:5, :10] == 200).all()
    assert (dimmed[5:, 10:] == 200).all()
    assert (dimmed[:5, 10:] == 50).all()
    assert (dimmed[5:, :10] == 50).all()
