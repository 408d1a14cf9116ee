"""Which backend a memory gets, and what is said about it."""

from __future__ import annotations

import pytest
import torch

from hermes_stream.memory.backends import choose
from hermes_stream.memory.backends.choose import choose_backend

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def _a_device_that_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(choose, "fused_op", lambda: "varlen_attn")


def test_the_fused_operation_is_chosen_where_it_runs() -> None:
    backend = choose_backend({CUDA}, BF16, 128, 28, 4)
    assert backend.name == "flash"
    assert backend.reason.startswith("varlen_attn of torch 2.")
    assert backend.reason.endswith("because the device is CUDA and the model is in bfloat16 with heads of 128")


@pytest.mark.parametrize(
    ("devices", "dtype", "sizes", "reason"),
    [
        ({CPU}, BF16, (128, 28, 4), "runs on CUDA only and the device is cpu"),
        ({CUDA, CPU}, BF16, (128, 28, 4), "runs on CUDA only and the device is cpu"),
        ({CUDA}, torch.float32, (128, 28, 4), "takes float16 and bfloat16 and the model is in float32"),
        ({CUDA}, BF16, (320, 28, 4), "takes heads of 8, 16, ... 256 and the model's have 320"),
        ({CUDA}, BF16, (60, 28, 4), "takes heads of 8, 16, ... 256 and the model's have 60"),
        ({CUDA}, BF16, (128, 28, 3), "28 query heads do not divide into 3 groups"),
    ],
)
def test_everything_else_gets_the_reference_and_the_reason(
    devices: set[torch.device], dtype: torch.dtype, sizes: tuple[int, int, int], reason: str
) -> None:
    backend = choose_backend(devices, dtype, *sizes)
    assert backend.name == "reference"
    assert reason in backend.reason


def test_old_devices_get_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "compute capability 8.0 and this device has 7.5" in choose_backend({CUDA}, BF16, 128, 28, 4).reason
