"""Several processes that share a benchmark's videos, started and watched by one command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from hermes_stream.cli.benchmark_options import BenchmarkOptions
from hermes_stream.cli.output import progress_bar, say
from hermes_stream.errors import HermesError

if TYPE_CHECKING:
    from hermes_stream.evals.task import Loaded, Task

_LOOK_SECONDS = 0.5
_START = "from hermes_stream.cli.main import main; main()"


def run_workers(
    task: Task, loaded: Loaded, options: BenchmarkOptions, out: Path, n: int, *, skips_missing: bool
) -> None:
    """Run every part in a process of its own until all are done. Raises HermesError if one failed."""
    words = ["eval", "benchmark", task.name, "--out", str(out), *options.as_arguments()]
    words += ["--skip-missing"] if skips_missing else []
    with ExitStack() as stack:
        n_devices = _n_devices() if options.device is None and options.device_map is None else 1
        workers = [_start([*words, "--shard", f"{index}/{n}"], index % n_devices, n_devices) for index in range(n)]
        for worker in workers:
            stack.callback(_end, worker)
        say(f"{n} processes: {', '.join(str(worker.pid) for worker in workers)}")
        _wait(workers, out, _n_replies(task, loaded, options))
    failed = [index for index, worker in enumerate(workers) if worker.returncode]
    if failed:
        raise HermesError(
            f"part {failed[0]} of {n} ended with status {workers[failed[0]].returncode}; the same command goes on"
        )


def _start(words: list[str], device: int, n_devices: int) -> subprocess.Popen[bytes]:
    """On an accelerator of its own, where there are several and nobody chose one."""
    environment = dict(os.environ)
    if n_devices > 1:
        visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[device] if device < len(visible) and visible[0] else str(device)
    return subprocess.Popen([sys.executable, "-c", _START, *words], env=environment, stdout=subprocess.DEVNULL)


def _wait(workers: list[subprocess.Popen[bytes]], out: Path, n_replies: int) -> None:
    from hermes_stream.evals.reply_log import count_replies

    with progress_bar() as progress:
        asking = progress.add_task("asking", total=n_replies, note="")
        while any(worker.poll() is None for worker in workers):
            n_answered = min(count_replies(out), n_replies)
            progress.update(asking, completed=n_answered, note=f"{n_answered}/{n_replies}")
            time.sleep(_LOOK_SECONDS)


def _end(worker: subprocess.Popen[bytes]) -> None:
    """Ends with its parent, whatever ends that."""
    if worker.poll() is None:
        worker.terminate()
    worker.wait()


def _n_replies(task: Task, loaded: Loaded, options: BenchmarkOptions) -> int:
    """About as many as there will be."""
    from hermes_stream.evals.lineup import make_entries

    n_entries = len(make_entries(options.memories, (options.budget or "1").split(",")))
    asked = [item for item in loaded.items if item.video not in loaded.missing_videos]
    return n_entries * sum(len(task.polls(item)) for item in asked)


def _n_devices() -> int:
    import torch

    return max(torch.cuda.device_count(), 1)
