"""Checkpoints: whole or not at all, thinned with age, one server at a time, legible under the right key only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hermes_stream as hs
from hermes_stream.errors import ConfigError, SnapshotError
from hermes_stream.server.state.checkpoints import Checkpoint, Saved, least_missed
from hermes_stream.server.state.state_folder import StateFolder
from hermes_stream.server.state.thumbnails import Thumbnails
from tests.tiny import make_frames, save_llava_onevision

KEY = b"k" * 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    model = save_llava_onevision(tmp_path_factory.mktemp("model"))
    with hs.load_model(str(model)) as engine, engine.open() as session:
        session.watch(make_frames(3))
        snapshot = session.snapshot()
    return Checkpoint(snapshot, Thumbnails({0.0: b"a", 1.0: b"b"}), {"origin_s": 12.5})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateFolder]:
    with closing(StateFolder(tmp_path)) as folder:
        yield folder


def test_what_was_saved_is_loaded(folder: StateFolder, checkpoint: Checkpoint) -> None:
    folder.save("a", checkpoint, 2.0)
    [saved] = folder.saved("a")
    loaded = folder.load(saved)
    assert (saved.time_seconds, loaded.about, loaded.thumbnails.times) == (2.0, {"origin_s": 12.5}, [0.0, 1.0])
    assert loaded.snapshot.structure == checkpoint.snapshot.structure


def test_under_a_key_nothing_is_legible_and_other_keys_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    folder = StateFolder(tmp_path, KEY)
    saved = folder.save("a", checkpoint, 2.0)
    assert folder.load(saved).about == {"origin_s": 12.5}
    folder.close()
    assert all(b"origin_s" not in path.read_bytes() for path in saved.path.iterdir())
    for key in (None, b"x" * 32):
        other = StateFolder(tmp_path, key)
        with pytest.raises(SnapshotError):
            other.load(saved)
        other.close()


@pytest.mark.parametrize("name", ["memory.safetensors", "thumbnails.zip", "session.json"])
def test_a_damaged_file_is_refused(folder: StateFolder, checkpoint: Checkpoint, name: str) -> None:
    saved = folder.save("a", checkpoint, 2.0)
    path = saved.path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SnapshotError):
        folder.load(saved)
    path.unlink()
    with pytest.raises(SnapshotError):
        folder.load(saved)


def test_what_was_not_finished_is_no_checkpoint(folder: StateFolder, checkpoint: Checkpoint) -> None:
    saved = folder.save("a", checkpoint, 2.0)
    saved.path.rename(saved.path.with_name(saved.path.name + ".unfinished"))
    assert folder.saved("a") == []
    assert folder.save("a", checkpoint, 2.0).path.is_dir()


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    first = StateFolder(tmp_path)
    with pytest.raises(ConfigError, match="another server"):
        StateFolder(tmp_path)
    first.close()
    StateFolder(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        StateFolder(tmp_path / "file" / "state")


def test_checkpoints_of_a_time_and_later_are_dropped(folder: StateFolder, checkpoint: Checkpoint) -> None:
    for time in (1.0, 2.0, 3.0):
        folder.save("a", checkpoint, time)
    assert folder.drop_since("a", 2.0) == 2
    assert [saved.time_seconds for saved in folder.saved("a")] == [1.0]
    folder.drop("a")
    assert folder.saved("a") == []


@settings(max_examples=50, deadline=None)
@given(n=st.integers(2, 2000), n_kept=st.integers(3, 12))
def test_however_long_it_runs_checkpoints_of_all_ages_are_there(n: int, n_kept: int) -> None:
    kept: list[Saved] = []
    for number in range(1, n + 1):
        kept.append(Saved(Path(str(number)), number, 10.0 * number))
        while len(kept) - 1 > n_kept:
            kept.remove(least_missed(kept))
    ages = [10.0 * n - saved.time_seconds for saved in kept][::-1]
    assert len(ages) == min(n, n_kept + 1)
    assert (ages[0], ages[-1]) == (0, 10.0 * (n - 1))
    # A geometric series would grow by this factor; none of its steps is much wider.
    factor = max(n, 2) ** (1 / n_kept)
    assert all(older + 10 <= 4 * factor * (newer + 10) for newer, older in pairwise(ages))


@pytest.mark.parametrize("n_older", [0, 1, 4])
def test_as_many_older_ones_stay_as_are_wanted(tmp_path: Path, checkpoint: Checkpoint, n_older: int) -> None:
    with closing(StateFolder(tmp_path)) as folder:
        for number in range(8):
            folder.save("a", checkpoint, float(number))
            folder.thin("a", n_older)
        assert len(folder.saved("a")) == n_older + 1
        assert folder.saved("a")[-1].time_seconds == 7.0
