"""Values as JSON and tensors: what goes in comes out, and a file can name nothing but values of this package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.errors import SnapshotError
from hermes_stream.memory.encoding import Reader, Writer
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.random import RandomState
from hermes_stream.types import Frame, Turn

CPU = torch.device("cpu")


@dataclass(frozen=True)
class MyState:
    rows_N: torch.Tensor
    older: MyState | None = None


class MyPolicy(Policy):
    """A policy from outside the package."""

    name: ClassVar[str] = "mine"

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        return Plan.keep_all(), state


def there_and_back(value: Any, own: tuple[type[Any], ...] = ()) -> Any:
    writer = Writer()
    text = json.dumps(writer.value(value, "value"))
    return Reader(writer.tensors, CPU, own).value(json.loads(text))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.builds(Turn, st.text(), st.text())
    | st.builds(RandomState, st.integers(), st.integers(), st.lists(st.integers()).map(tuple), st.integers()),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=20,
)


@given(PLAIN)
def test_what_goes_in_comes_out(value: Any) -> None:
    found = there_and_back(value)
    assert found == value
    assert repr(found) == repr(value)  # 1, 1.0 and True are equal, but not the same


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_tensors_keep_their_kind(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    value = (5 * torch.rand(shape)).to(dtype)
    found = there_and_back((value, 1))[0]
    assert found.dtype == dtype
    assert torch.equal(found, value)


def test_values_that_share_a_tensor_share_it_again() -> None:
    shared = torch.arange(3)
    writer = Writer()
    text = writer.value((shared, shared.clone(), shared, shared[:3], shared[:2], shared[:0]), "value")
    assert len(writer.tensors) == 4
    first, second, third, fourth, fifth, empty = Reader(writer.tensors, CPU).value(text)
    assert first is third is fourth
    assert second is not first
    assert fifth.tolist() == [0, 1]
    assert empty.tolist() == []


def test_a_policy_comes_back_with_its_options() -> None:
    policy = Hermes(budget=40, reindex="eager", shares=(1.3, 1, 0.7), own_prompts=("a", "b"))
    assert there_and_back(policy) == policy
    assert there_and_back((policy,)) == (policy,)


def test_a_path_comes_back() -> None:
    assert there_and_back((Path("a") / "b",)) == (Path("a/b"),)


def test_a_frame_is_copied() -> None:
    frame = Frame(1.5, np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)[::-1])
    expected = frame.image_YXC.copy()
    writer = Writer()
    text = writer.value(frame, "frame")
    frame.image_YXC[:] = 0
    found = Reader(writer.tensors, CPU).value(text)
    assert found.pts_seconds == 1.5
    assert np.array_equal(found.image_YXC, expected)


@pytest.mark.parametrize("value", [{1: 2}, [1], {1}, object(), 1j, np.int64(3), b"a", range(3)])
def test_what_no_snapshot_can_hold_is_refused_by_its_place(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(SnapshotError, match=rf"state\.1 is a {kind}, which a snapshot cannot hold"):
        Writer().value((0, value), "state")


def test_classes_of_others_are_made_only_if_they_are_named() -> None:
    state = MyState(torch.arange(2), MyState(torch.arange(3)))
    found = there_and_back(state, own=(MyState,))
    assert isinstance(found, MyState)
    assert found.older is not None
    assert torch.equal(found.older.rows_N, torch.arange(3))
    assert there_and_back(MyPolicy(budget=3), own=(MyPolicy,)) == MyPolicy(budget=3)
    with pytest.raises(SnapshotError, match=r"test_encoding:MyState, which is not of this package; name the class"):
        there_and_back(state)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("os:system", "not of this package"),
        ("hermes_stream_evil:Turn", "not of this package"),
        ("hermes_stream.policies.base:Nobody", "does not have"),
        ("hermes_stream.nowhere:Turn", "does not have"),
        ("hermes_stream.policies.base:inspect.os.system", "does not have"),
        ("hermes_stream.models.load:load_adapter", "does not have"),
        ("hermes_stream.memory.kv_memory:KVMemory", "does not have"),
    ],
)
def test_a_file_can_make_nothing_but_values(name: str, complaint: str) -> None:
    with pytest.raises(SnapshotError, match=complaint):
        Reader({}, CPU).value({"class": name, "fields": {}})


def test_a_class_that_has_changed_is_named() -> None:
    with pytest.raises(SnapshotError, match=r"types:Turn is not the one of this version.*colour"):
        Reader({}, CPU).value({"class": "hermes_stream.types:Turn", "fields": {"colour": "red"}})
    window = {"class": "hermes_stream.policies.sliding_window:SlidingWindow", "fields": {"budget": -1}}
    with pytest.raises(SnapshotError, match=r"sliding_window:SlidingWindow is not the one of this version"):
        Reader({}, CPU).value(window)
