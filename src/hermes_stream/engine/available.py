"""How much memory a machine has to spare: what an engine takes for its limit if nobody says one."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import torch

from hermes_stream.models.adapter import ModelFacts

# What is left to everybody else. On an accelerator: to the vision tower's activations and to gaps between allocations.
_SHARE_OF_HOST = 0.8
_SHARE_OF_DEVICE = 0.9
# Limits of a container, version 2 and version 1 of control groups.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes(facts: ModelFacts) -> int | None:
    """What may still be taken where a loaded model stands: a share of what is free there. None where nobody can say."""
    devices = {facts.device, *facts.layer_devices}
    if facts.n_ranks > 1:
        devices = {torch.device(facts.device.type, rank) for rank in range(facts.n_ranks)}
    if facts.device.type == "cuda":
        return int(_SHARE_OF_DEVICE * sum(torch.cuda.mem_get_info(device)[0] for device in devices))
    free = None if facts.device.type == "meta" else free_host_bytes()
    return None if free is None else int(_SHARE_OF_HOST * free)


def free_host_bytes() -> int | None:
    """Of the machine, or of the container if that has less."""
    known = [_free_of_machine(), *(_free_of_container(*paths) for paths in _CGROUPS)]
    return min((n for n in known if n is not None), default=None)


def _free_of_machine() -> int | None:
    """As Linux reports it; elsewhere half of what is built in."""
    with suppress(OSError):
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        if match is not None:
            return int(match[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _free_of_container(limit_path: str, usage_path: str) -> int | None:
    with suppress(OSError, ValueError):
        limit, used = (int(Path(path).read_text(encoding="ascii")) for path in (limit_path, usage_path))
        return max(limit - used, 0)
    return None
