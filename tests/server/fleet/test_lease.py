"""Of many who want a session, wherever they die: one line of checkpoints, and nothing acknowledged is lost."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError, LeaseLost, StoreError
from hermes_stream.server.fleet.lease import Commit, Leases, valid_commits
from hermes_stream.server.fleet.object_store import open_store
from hermes_stream.server.fleet.store import FolderStore, Store
from tests.oracles.lease_oracle import Place, lineage

from .actors import Actor, DictStore

_N_ACTORS = 3
_N_COMMITS = 3
_PLACES = st.tuples(st.integers(1, 5), st.integers(1, 4))


@settings(deadline=None)
@given(st.sets(_PLACES, max_size=8), st.dictionaries(st.integers(1, 5), _PLACES, max_size=4))
def test_the_checkpoints_that_count_are_those_of_the_history(commits: set[Place], bases: dict[int, Place]) -> None:
    bases = {fence: min(base, (fence - 1, 9)) for fence, base in bases.items()}
    found = valid_commits([Commit(fence, number, 0.0) for fence, number in commits], bases)
    assert [(commit.fence, commit.number) for commit in found] == lineage(commits, bases)


class _History:
    """What servers believe, in the order in which it happened."""

    def __init__(self) -> None:
        self.acknowledged: list[Place] = []
        self.serving: dict[int, Place] = {}

    def serve(self, name: str, store: Any) -> None:
        """Claim a session, at once and from whomever; save some checkpoints; believe what one is told."""
        leases = Leases(store, name)
        fence = leases.take("s", leases.newest("s"), 1)
        if fence is None:
            return
        try:
            base = leases.settle("s", fence)
            place = (0, 0) if base is None else (base.fence, base.number)
            # A successor that serves already must not be contradicted by one that begins to serve later.
            assert all(fence > other for other in self.serving), "an owner began to serve behind its successor"
            self.serving[fence] = place
            for number in range(place[1] + 1, place[1] + 1 + _N_COMMITS):
                leases.commit("s", Commit(fence, number, float(number)))
                self.acknowledged.append((fence, number))
        except LeaseLost:
            return

    def check(self, store: Any) -> None:
        """Hold now, whoever may still be in the middle of something."""
        found = [(commit.fence, commit.number) for commit in Leases(store, "reader").commits("s")]
        assert set(self.acknowledged) <= set(found), "an acknowledged checkpoint is not read"
        if not self.serving:
            return
        newest = max(self.serving)
        for fence, number in found:
            assert fence >= newest or (fence, number) <= self.serving[newest], "what came too late is read"


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 2 * _N_ACTORS - 1), min_size=20, max_size=90))
def test_owners_that_are_succeeded_at_any_moment_never_both_count(schedule: list[int]) -> None:
    store, history = DictStore(), _History()
    actors = [
        Actor(store, lambda steps, name=f"server-{index}": history.serve(name, steps)) for index in range(_N_ACTORS)
    ]
    try:
        for n_steps, choice in enumerate(schedule):
            # The second half of the choices kills, once it has gone on for a while.
            if choice < _N_ACTORS or n_steps < len(schedule) // 2:
                actors[choice % _N_ACTORS].step()
            else:
                actors[choice % _N_ACTORS].kill()
            history.check(store)
    finally:
        for actor in actors:
            actor.kill()
    assert [actor.error for actor in actors] == [None] * _N_ACTORS
    history.check(store)


def test_after_all_that_a_new_owner_goes_on_behind_the_last_acknowledged_checkpoint(tmp_path: Path) -> None:
    history = _History()
    for name in ("first", "second"):
        history.serve(name, FolderStore(tmp_path))
    leases = Leases(FolderStore(tmp_path), "third")
    before = leases.newest("s")
    assert before is not None
    assert (before.holder, before.is_released) == ("second", False)
    fence = leases.take("s", before, 1)
    assert fence == 3
    base = leases.settle("s", fence)
    assert base is not None
    assert (base.fence, base.number) == history.acknowledged[-1] == (2, 2 * _N_COMMITS)


def test_a_late_owner_is_told_so_and_its_checkpoint_is_not_read(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    old, new = Leases(store, "old"), Leases(store, "new")
    assert old.take("s", None, 7) == 7
    old.settle("s", 7)
    old.commit("s", Commit(7, 1, 1.0))
    assert new.take("s", new.newest("s"), 99) == 8
    new.settle("s", 8)
    with pytest.raises(LeaseLost, match="another owner"):
        old.commit("s", Commit(7, 2, 2.0))
    # As if it had written before it looked.
    store.write(f"sessions/s/checkpoints/{Commit(7, 2, 2.0).stem}.commit", b"")
    assert new.commits("s") == [Commit(7, 1, 1.0)]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(str(tmp_path) if request.param == "folder" else f"memory://{tmp_path}")


def test_a_store_gives_back_what_was_written(store: Store, tmp_path: Path) -> None:
    assert store.read("a/b") is None
    assert store.names("a") == []
    store.write("a/b", b"1")
    store.write("a/b", b"22")
    assert store.create("a/b", b"3") is False
    assert store.create("a/c", b"3") is True
    assert (store.read("a/b"), store.read("a/c"), sorted(store.names("a"))) == (b"22", b"3", ["b", "c"])
    with store.scratch() as folder:
        (folder / "file").write_bytes(b"large")
        store.put(folder / "file", "a/d/file")
    with store.fetch("a/d/file") as path:
        assert path.read_bytes() == b"large"
    with pytest.raises(FileNotFoundError), store.fetch("a/d/other") as path:
        path.read_bytes()
    store.remove("a/d")
    store.remove("a/b")
    store.remove("a/never")
    assert store.names("a") == ["c"]


def test_of_many_who_create_a_file_at_once_one_is_first(store: Store) -> None:
    for attempt in range(20):
        won: list[int] = []
        start = threading.Barrier(4)

        def create(index: int, attempt: int = attempt, start: threading.Barrier = start, won: Any = won) -> None:
            start.wait()
            if store.create(f"race/{attempt}", str(index).encode()):
                won.append(index)

        threads = [threading.Thread(target=create, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.read(f"race/{attempt}") == str(won[0]).encode()


def test_a_store_that_cannot_keep_claims_apart_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot create a file exclusively"):
        open_store("dir::memory://x")
    with pytest.raises(ConfigError, match="cannot be used"):
        open_store("nonsense://x")


def test_a_folder_that_is_gone_is_told_in_one_line(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "shared")
    (tmp_path / "shared" / "scratch").rmdir()
    (tmp_path / "shared").rmdir()
    with pytest.raises(StoreError, match="is it mounted"):
        store.write("a", b"")
