"""`hermes-stream map`, and that its pictures show what the tables say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hermes_stream import KeepAll, Query, SlidingWindow, load_model
from hermes_stream.cli.map_recorder import MapRecorder, Spread
from hermes_stream.cli.stream_options import Opened
from hermes_stream.engine.timeline import TimedQuestion, answer_in_time
from hermes_stream.memory.held_map import summarised_tokens
from hermes_stream.video import MemorySource, Video
from hermes_stream.viz.held_patches import dim_evicted, held_cells
from hermes_stream.viz.memory_map import draw_memory_map, held_share
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
        share = held_share(session.memory)
        assert share.shape == (10, 12)
        assert share[:, -4:].min() == 1
        assert share[:, :-4].max() == 0
        assert held_share(whole.memory).min() == 1
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


@pytest.mark.parametrize("most", [1, 7, 36])
def test_however_many_there_were_a_few_remain_evenly(most: int) -> None:
    spread: Spread[int] = Spread(most)
    for number in range(1, 1000):
        spread.add(number - 1)
        kept = list(spread.kept.values())
        assert kept == list(spread.kept)
        assert min(number, most / 2) <= len(kept) <= most
        assert len(set(np.diff(kept).tolist())) <= 1
        assert kept[0] == 0


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_compressions_are_marked_when_they_happened(chunk: int) -> None:
    """Questions cut the intervals into pieces; a twin that gets frame by frame says when it was compressed."""
    frames, expected = make_frames(31), []
    questions = [TimedQuestion(seconds, Query("What?", max_new_tokens=1), None) for seconds in (5.5, 6, 22)]
    with load_model() as engine, engine.open("hermes", budget=16, chunk=chunk) as twin:
        for frame in frames:
            n_before = twin.stats.n_compressions
            twin.watch(frame)
            if twin.stats.n_compressions > n_before:
                expected.append(frame.pts_seconds)
        with engine.open("hermes", budget=16, chunk=chunk) as session, Video(MemorySource(frames), fps=None) as video:
            recorder = MapRecorder(Opened(engine, session, video, 1.0))
            for _ in answer_in_time(session, recorder.watch(video), questions, batch_frames=session.chunk_frames):
                pass
            assert list(recorder.compression_seconds) == expected
            assert len(expected) > 5


def test_compressions_are_small_ticks(tmp_path: Path) -> None:
    with load_model() as engine, engine.open(SlidingWindow(budget=16)) as session:
        session.watch(make_frames(12))
        version = session.memory
    n_orange = []
    for seconds in ((), (3.0,), (3.0, 7.0, 11.0)):
        path = tmp_path / f"{len(seconds)}.png"
        draw_memory_map(version, path, groups={"all": range(10)}, title="", compression_seconds=seconds)
        with Image.open(path) as picture:
            red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), -1, 0)
            n_orange.append(int(((red > 230) & (green > 100) & (green < 200) & (blue < 160)).sum()))
    assert n_orange[0] == 0
    assert n_orange[2] > n_orange[1] > 0


def test_ask_draws_the_map_that_it_was_asked_for(command: Command, episode: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    done = command("ask", episode[0], "--fps", 0.5, "--question", "20=Which room is this?", "--map", folder)
    assert done.status == 0, done.err
    for name in ("memory.png", "patches.png"):
        with Image.open(folder / name) as picture:
            assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50
        assert str(folder / name) in done.err


@pytest.mark.parametrize("arguments", [["ask", "--question", "1=x", "--map"], ["watch", "--map"], ["map", "--out"]])
def test_a_file_in_the_maps_place_is_said_before_anything_is_watched(
    command: Command, episode: tuple[Path, Path], arguments: list[str]
) -> None:
    name, *options = arguments
    done = command(name, episode[0], *options, episode[0])
    assert (done.status, done.out) == (2, "")
    assert done.err == f"error: {episode[0]} is a file; give a folder for memory.png and patches.png\n"
