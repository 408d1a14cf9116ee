"""Snapshots: a restored session goes on bit by bit as the original does; files that cannot be trusted are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hermes_stream import Engine, Hermes, Random, RecentFrames, Session, SlidingWindow, Snapshot, UsageError
from hermes_stream.errors import ConfigError, SessionClosed, SnapshotError
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Policy
from tests.tiny import make_frames, save_llava_onevision

from .direct import assert_same_bits, assert_same_snapshots, memory_bits, question_logits
from .test_recall import Window

KEY = bytes(range(32))


class Forgetful(Policy):
    """A policy from outside the package, whose state no snapshot can hold if it is told so."""

    name: ClassVar[str] = "forgetful"

    is_bad: bool = False

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        return Plan.same_rows(torch.arange(0), view.n_layers), {1: 2} if self.is_bad else (view.frames_seen, state)


@pytest.fixture
def session(engine: Engine) -> Session:
    """In the middle of an interval, after some compressions, with a history."""
    session = engine.open(Hermes(budget=30), chunk=4)
    session.watch(make_frames(9))
    session.ask("Which colour?", remember=True, max_new_tokens=3).result()
    return session


@pytest.fixture
def other(llava_folder: Path) -> Iterator[Engine]:
    """As in another process: the same checkpoint, loaded again."""
    with Engine(load_adapter(str(llava_folder))) as engine:
        yield engine


def assert_go_on_alike(ours: Session, theirs: Session) -> None:
    for start in (9, 12, 17):
        frames = make_frames(5 if start == 12 else 3, start=start)
        ours.watch(frames)
        theirs.watch(frames)
        assert_same_bits(memory_bits(ours.stream), memory_bits(theirs.stream))
        assert torch.equal(question_logits(ours.stream, "What is red?"), question_logits(theirs.stream, "What is red?"))
    assert ours.stats == theirs.stats
    ours.check_invariants()
    theirs.check_invariants()


def test_a_restored_session_goes_on_as_the_original(session: Session, other: Engine, tmp_path: Path) -> None:
    session.snapshot().save(tmp_path / "past")
    restored = other.restore(tmp_path / "past")
    assert restored.stats == session.stats
    assert restored.policy == session.policy
    assert restored.stream.history == session.stream.history != ()
    assert_go_on_alike(session, restored)


def test_a_snapshot_is_of_the_moment_at_which_it_was_taken(session: Session, other: Engine, tmp_path: Path) -> None:
    """Also if it is saved later."""
    snapshot, bits, twin = session.snapshot(), memory_bits(session.stream), session.fork()
    session.watch(make_frames(6, seed=3, start=9))
    snapshot.save(tmp_path / "past")
    restored = other.restore(tmp_path / "past")
    assert_same_bits(bits, memory_bits(restored.stream))
    assert_go_on_alike(twin, restored)


def test_a_snapshot_in_memory_can_be_restored_many_times(session: Session, engine: Engine) -> None:
    snapshot = session.snapshot()
    first, second = engine.restore(snapshot), engine.restore(snapshot)
    first.watch(make_frames(6, seed=3, start=9))
    assert_go_on_alike(session, second)


@pytest.mark.parametrize("policy", [SlidingWindow(budget=30), Random(budget=30), RecentFrames(frames=2)])
def test_before_the_first_frame_and_with_a_seed(policy: Policy, engine: Engine, other: Engine) -> None:
    session = engine.open(policy, chunk=3, seed=11)
    assert_go_on_alike(session, other.restore(session.snapshot()))


def test_without_unrotated_keys(engine: Engine) -> None:
    session = engine.open(SlidingWindow(budget=30), keep_raw=False)
    session.watch(make_frames(7))
    restored = engine.restore(session.snapshot())
    assert restored.stats.memory_bytes == session.stats.memory_bytes
    for each in (session, restored):
        each.watch(make_frames(6, start=7))
    assert torch.equal(question_logits(session.stream, "Who?"), question_logits(restored.stream, "Who?"))


@pytest.mark.parametrize(
    "memory", ["dtd(drop=0.5) | hermes + recent(frames=1)", "change-gate | infinipot-v", "rekv + fresh(frames=1)"]
)
def test_a_composition_comes_back_as_a_whole(memory: str, engine: Engine, other: Engine, tmp_path: Path) -> None:
    """With the state of each of its parts."""
    session = engine.open(memory, budget=36, chunk=4)
    session.watch(make_frames(9))
    session.snapshot().save(tmp_path / "past")
    restored = other.restore(tmp_path / "past")
    assert str(restored.policy) == str(session.policy)
    assert_go_on_alike(session, restored)


@pytest.mark.parametrize("options", [{}, {"bits": 4}, {"host": "40KiB"}, {"bits": 8, "host": "1B"}])
def test_an_archive_comes_along(options: dict[str, Any], engine: Engine, other: Engine, tmp_path: Path) -> None:
    """Packed rows as they are, in host memory or on a disk, also of a stream that goes on before it is saved."""
    (folder := tmp_path / "archive").mkdir()
    policy = Window(budget=20, where="view", disk=folder if "host" in options else None, **options)
    session = engine.open(policy, chunk=3)
    session.watch(make_frames(9))
    snapshot, twin = session.snapshot(), session.fork()
    session.watch(make_frames(6, seed=2, start=9))
    snapshot.save(tmp_path / "past")
    restored = other.restore(tmp_path / "past", own=(Window,))
    assert restored.memory.archive_bytes(disk=True) == twin.memory.archive_bytes(disk=True)
    assert (restored.memory.archive_bytes(disk=True) > 0) == ("host" in options)
    assert restored.memory.archived_tokens == twin.memory.archived_tokens != (0,) * 12
    assert_go_on_alike(twin, restored)


def test_an_archive_needs_its_folder_again(engine: Engine, tmp_path: Path) -> None:
    (folder := tmp_path / "archive").mkdir()
    session = engine.open(Window(budget=20, disk=folder), chunk=3)
    snapshot = session.snapshot()
    folder.rmdir()
    with pytest.raises(ConfigError, match="archive does not exist; make it first"):
        engine.restore(snapshot, own=(Window,))


def test_layers_that_shared_a_table_share_it_again(engine: Engine) -> None:
    session = engine.open(SlidingWindow(budget=30))
    session.watch(make_frames(3))
    restored = engine.restore(session.snapshot())
    for each in (session, restored):
        assert len({id(layer.table) for layer in each.memory.layers}) == 1


def test_a_policy_of_ones_own_is_named_when_it_is_restored(engine: Engine, tmp_path: Path) -> None:
    session = engine.open(Forgetful(budget=30), chunk=2)
    session.watch(make_frames(5))
    session.snapshot().save(tmp_path / "past")
    with pytest.raises(SnapshotError, match=r"Forgetful, which is not of this package; name the class in `own`"):
        engine.restore(tmp_path / "past")
    restored = engine.restore(tmp_path / "past", own=(Forgetful,))
    assert restored.stream.state == session.stream.state == (4, (2, None))


def test_a_state_that_no_snapshot_can_hold_is_named(engine: Engine) -> None:
    session = engine.open(Forgetful(budget=30, is_bad=True), chunk=2)
    session.watch(make_frames(2))
    with pytest.raises(SnapshotError, match=r"stream\.state is a dict, which a snapshot cannot hold"):
        session.snapshot()


def test_a_closed_session_has_no_snapshot(session: Session) -> None:
    session.close()
    with pytest.raises(SessionClosed):
        session.snapshot()


def test_a_model_of_another_size_is_refused(session: Session, tmp_path: Path) -> None:
    with (
        Engine(load_adapter(str(save_llava_onevision(tmp_path / "small", num_hidden_layers=3)))) as small,
        pytest.raises(SnapshotError, match=r"random-llava, whose n_layers is 12; .*small has 3: load the model"),
    ):
        small.restore(session.snapshot())


def test_a_model_with_other_weights_is_refused(session: Session, tmp_path: Path) -> None:
    with (
        Engine(load_adapter(str(save_llava_onevision(tmp_path / "tuned", seed=1)))) as tuned,
        pytest.raises(SnapshotError, match=r"taken with other weights than the loaded model has .*random-llava"),
    ):
        tuned.restore(session.snapshot())


def test_another_precision_is_refused(session: Session, llava_folder: Path) -> None:
    with (
        Engine(load_adapter(str(llava_folder), dtype="float64")) as exact,
        pytest.raises(SnapshotError, match=r"whose dtype is torch\.float32; .*random-llava has torch\.float64"),
    ):
        exact.restore(session.snapshot())


def change_header(path: Path, **changes: str) -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        header = file.metadata()
    save_file(tensors, path, {**header, **changes})


def test_files_that_are_no_whole_snapshot_are_refused_in_one_line(
    session: Session, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "past"
    session.snapshot().save(path)
    whole = path.read_bytes()

    def refusal() -> str:
        with pytest.raises(UsageError) as caught:
            engine.restore(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    for n_bytes in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        assert "expected a whole file" in refusal()
    path.write_bytes(whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:])
    assert refusal() == f"the snapshot {path} is damaged: its contents do not match its digest"
    path.write_bytes(whole.replace(b'chunk_frames\\": 4', b'chunk_frames\\": 5'))
    assert "damaged" in refusal()
    path.write_text("a letter to a friend, long enough to be taken for a header")
    assert "expected a whole file" in refusal()
    save_file({"weight": torch.zeros(3)}, path)
    assert "is no snapshot of hermes-stream" in refusal()
    path.unlink()
    assert "No such file" in refusal()
    path.write_bytes(whole)
    change_header(path, version="99")
    assert "is a snapshot of version 99, this hermes-stream reads version 5" in refusal()
    path.write_bytes(whole)
    assert engine.restore(path).stats == session.stats


def test_a_stream_of_another_version_is_refused(session: Session, engine: Engine) -> None:
    snapshot = session.snapshot()
    structure = json.loads(json.dumps(snapshot.structure))
    del structure["stream"]["interval_tokens"]
    with pytest.raises(SnapshotError, match="another version of hermes-stream: it differs in interval_tokens"):
        engine.restore(Snapshot(structure, snapshot.tensors))


def test_a_failed_save_leaves_the_old_file_whole(
    session: Session, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the disk were full when the new one is half written."""
    path = tmp_path / "past"
    session.snapshot().save(path)
    before = path.read_bytes()
    session.watch(make_frames(3, start=9))

    def half(file: BinaryIO, *rest: object) -> None:
        file.write(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hermes_stream.memory.snapshot.write_tensors", half)
    for key in (None, KEY):
        with pytest.raises(SnapshotError, match=r"cannot write the snapshot .*past: No space left on device"):
            session.snapshot().save(path, key)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    with pytest.raises(SnapshotError, match="cannot write the snapshot"):
        session.snapshot().save(tmp_path / "nowhere" / "past")


@pytest.mark.parametrize("memory", ["hermes", "dscache", "rekv(bits=4)"])
def test_a_sealed_snapshot_comes_back_bit_by_bit(memory: str, engine: Engine, other: Engine, tmp_path: Path) -> None:
    session = engine.open(memory, budget=30, chunk=4)
    session.watch(make_frames(9))
    session.snapshot().save(tmp_path / "plain")
    session.snapshot().save(tmp_path / "sealed", KEY)
    plain, sealed = Snapshot.load(tmp_path / "plain"), Snapshot.load(tmp_path / "sealed", KEY)
    assert_same_snapshots(plain, sealed)
    assert_go_on_alike(session, other.restore(sealed))


def test_nothing_of_a_sealed_snapshot_can_be_read(session: Session, tmp_path: Path) -> None:
    session.snapshot().save(path := tmp_path / "past", KEY)
    content = path.read_bytes()
    for secret in (b"Which colour?", b"frames", b"stream", session.memory.layers[0].values.contiguous().numpy()[0, 3]):
        assert bytes(secret) not in content


def test_sealed_files_and_keys_that_do_not_fit_are_refused_in_one_line(session: Session, tmp_path: Path) -> None:
    path, plain = tmp_path / "past", tmp_path / "plain"
    session.snapshot().save(path, KEY)
    session.snapshot().save(plain)
    whole = path.read_bytes()

    def refusal(key: bytes | None, of: Path = path) -> str:
        with pytest.raises(SnapshotError) as caught:
            Snapshot.load(of, key)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refusal(None) == f"{path} is sealed; give the key that it was sealed with"
    assert refusal(KEY, plain) == f"{plain} is not sealed; load it without a key"
    assert refusal(bytes(32)) == (
        f"the snapshot {path} cannot be opened: it was sealed with another key, or its head is damaged"
    )
    for place in (20, 40, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "damaged" in refusal(KEY)
    for n_bytes in (30, 68, 80, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        assert "it is damaged" in refusal(KEY)
    path.write_bytes(whole + b"x")
    assert "it is damaged" in refusal(KEY)
    with pytest.raises(ConfigError, match="the key has 31 bytes; expected 32"):
        session.snapshot().save(path, KEY[:31])
    assert path.read_bytes() == whole + b"x"
    path.write_bytes(whole)
    assert Snapshot.load(path, KEY).structure == session.snapshot().structure
