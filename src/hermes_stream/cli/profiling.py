"""`--profile FILE`: a trace of what runs when, for every command that takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hermes_stream.cli.output import say
from hermes_stream.errors import ConfigError


def check_can_trace(path: Path | None) -> None:
    """Raise ConfigError where no trace can be written, before anything is measured."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ConfigError(f"--profile {path}: give a file in a folder that exists, as in trace.json.gz")


@contextmanager
def profiling(path: Path | None) -> Iterator[None]:
    """Write what happens meanwhile, on all threads, as a Chrome trace; do nothing without a path.

    Compressed where the name ends in .gz. Every operation is remembered until the end: for minutes, not for hours.
    """
    if path is None:
        yield
        return
    check_can_trace(path)
    import torch
    from torch._C._profiler import _ExperimentalConfig
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    # Engine and video have threads of their own, which it would leave out (PyTorch 2.13).
    profiler = profile(activities=activities, experimental_config=_ExperimentalConfig(profile_all_threads=True))
    with profiler:
        yield
    profiler.export_chrome_trace(str(path))
    say(f"trace: {path}; open it in a browser at chrome://tracing or in Perfetto")
