"""Several processes for one model: checked, started, joined, loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import torch
from torch import distributed

from hermes_stream.engine.parallel.adapter import ShardedAdapter
from hermes_stream.engine.parallel.follower import JOINING, READY
from hermes_stream.engine.parallel.member import Place, join, load
from hermes_stream.engine.parallel.team import Processes, Team
from hermes_stream.errors import ConfigError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import check_sharding, load_adapter


def load_shared(name: str, *, tensor_parallel: int = 1, **options: Any) -> Adapter:
    """`load_adapter`, or `load_sharded` for several devices."""
    if tensor_parallel == 1:
        return load_adapter(name, **options)
    return load_sharded(tensor_parallel, {"name": name, **options})


def load_sharded(n_ranks: int, options: Mapping[str, Any]) -> Adapter:
    """Load a model over so many devices of this machine, each with a process of its own; options: of `load_adapter`.

    Raises ConfigError or ModelError, one line, for what cannot be spread, before any process is started; RankError if
    one of them ends.
    """
    options = {name: value for name, value in options.items() if value is not None}
    device = _device(n_ranks, options.pop("device", None))
    for name in ("device_map", "quantization"):
        if name in options:
            raise ConfigError(f"{name} and tensor_parallel were given; give one of them")
    check_sharding(options["name"], n_ranks)
    if distributed.is_initialized():
        raise ConfigError("this process has a model over several devices already; close that engine first")
    folder = Path(tempfile.mkdtemp(prefix="hermes-stream-"))
    places = [Place(rank, n_ranks, str(folder / "store"), device) for rank in range(n_ranks)]
    processes = Processes([_start(place, options) for place in places[1:]], folder)
    try:
        processes.expect(JOINING)
        join(places[0])
        member = load(places[0], options)
        processes.expect(READY)
    except BaseException:
        processes.end()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        raise
    return cast(Adapter, ShardedAdapter(Team(processes, member), member))


def _device(n_ranks: int, device: str | None) -> str:
    """The kind of all ranks' devices."""
    if n_ranks < 1:
        raise ConfigError(f"tensor_parallel is {n_ranks}; give how many devices share the model")
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda"):
        raise ConfigError(
            f"device {kind!r} and tensor_parallel were given; devices are taken in order, so give cuda or cpu"
        )
    if kind == "cuda" and torch.cuda.device_count() < n_ranks:
        raise ConfigError(f"tensor_parallel is {n_ranks}, but there are {torch.cuda.device_count()} CUDA devices")
    if kind == "cpu" and torch.cuda.is_available():
        raise ConfigError("tensor_parallel runs on a CPU only where there is no accelerator; leave device out")
    return kind


def _start(place: Place, options: Mapping[str, Any]) -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = Pipe()
    with theirs:
        command = [sys.executable, "-m", "hermes_stream.engine.parallel.follower", str(theirs.fileno())]
        environment = {**os.environ, "LOCAL_RANK": str(place.rank)}
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
    ours.send((place, dict(options)))
    return process, ours
