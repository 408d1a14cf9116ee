"""Where a number was measured: hardware, versions and commit, for every row and file."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware and versions. threads: of PyTorch on the CPU. accelerator: name and memory; None without one.

    commit: of the source tree that runs, with "+changes" if it differs from it; None outside a checkout.
    """

    processor: str
    threads: int
    accelerator: str | None
    python: str
    torch: str
    cuda: str | None
    transformers: str
    commit: str | None

    @staticmethod
    def here() -> Machine:
        """This machine now. Take it when a run begins: the working tree may move on while it lasts."""
        return Machine(
            processor=_processor(),
            threads=torch.get_num_threads(),
            accelerator=_accelerator(),
            python=platform.python_version(),
            torch=torch.__version__,
            cuda=torch.version.cuda,
            transformers=version("transformers"),
            commit=_commit(),
        )

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


def process_peak_bytes() -> int | None:
    """Most memory that this process has had, weights and everything; None where the system does not say."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * unit


def device_peak_bytes(device: torch.device) -> int | None:
    """Most memory that PyTorch has had on an accelerator; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _accelerator() -> str | None:
    if not torch.cuda.is_available():
        return None
    return f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def _commit() -> str | None:
    # Where the package is installed inside somebody else's checkout, git would name their commit.
    if not _git("ls-files", "--error-unmatch", __file__):
        return None
    return _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain", "--", "..") else "")


def _git(*arguments: str) -> str:
    """What git says in this folder; empty if it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
