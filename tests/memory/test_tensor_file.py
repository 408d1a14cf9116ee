"""Files of tensors: the format is that of safetensors, whoever writes and whoever reads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from hermes_stream.memory.tensor_file import read_tensors, write_tensors

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip
some_tensors = st.dictionaries(
    st.text("abc.", min_size=1, max_size=4),
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)).map(
        lambda kind: (10 * torch.randn(kind[1], generator=torch.Generator().manual_seed(len(kind[1])))).to(kind[0])
    ),
    max_size=6,
)


def written(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    file = io.BytesIO()
    kinds = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    write_tensors(file, kinds, tensors.__getitem__, metadata)
    return file.getvalue()


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name])


@given(tensors=some_tensors)
def test_both_read_what_either_writes(tensors: dict[str, torch.Tensor]) -> None:
    metadata = {"format": "x", "more": '{"a": "ü"}'}
    ours = written(tensors, metadata)
    found, header = read_tensors(io.BytesIO(ours), len(ours))
    assert header == metadata
    assert_same(tensors, found)
    # The library's bytes, theirs by us; then ours by them.
    theirs = save(tensors, metadata)
    found, header = read_tensors(io.BytesIO(theirs), len(theirs))
    assert header == metadata
    assert_same(tensors, found)


def test_the_library_reads_it(tmp_path: Path) -> None:
    tensors = {dtype_name(dtype): torch.arange(5).to(dtype) for dtype in DTYPES}
    tensors["a view"] = torch.arange(12).view(3, 4)[:, 1:3]
    (path := tmp_path / "file").write_bytes(written(tensors, {"a": "b"}))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"a": "b"}
        assert_same(tensors, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def test_what_is_read_is_ones_own(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(4)}, path := tmp_path / "file")
    with path.open("rb") as file:
        tensors, _ = read_tensors(file)
    path.write_bytes(bytes(200))
    tensors["x"] += 1
    assert tensors["x"].tolist() == [1.0] * 4


def file_of(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        bytes(8),
        (2**60).to_bytes(8, "little") + b"{}",
        file_of(b"{]"),
        file_of([1]),
        file_of({"x": 1}),
        file_of({"__metadata__": 3}),
        file_of({"x": {**X, "dtype": "F31"}}, bytes(8)),
        file_of({"x": {**X, "shape": [3]}}, bytes(8)),
        file_of({"x": {**X, "shape": [-1, -2]}}, bytes(8)),
        file_of({"x": {**X, "data_offsets": [4, 12]}}, bytes(12)),
        file_of({"x": {**X, "data_offsets": None}}, bytes(8)),
        file_of({"x": X}, bytes(7)),
        file_of({"x": X}, bytes(9)),
        file_of({"x": X, "y": X}, bytes(8)),
        file_of({"x": {**X, "shape": [2**50], "data_offsets": [0, 2**52]}}, bytes(8)),
    ],
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_tensors(io.BytesIO(content), len(content))
