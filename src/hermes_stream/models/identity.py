"""Which weights a result was made with: the hub's revision, and a hash of the files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hermes_stream.models.checkpoint_files import CONFIG_FILE
from hermes_stream.models.load import resolve_checkpoint

_BLOCK_BYTES = 2**22
_WEIGHTS = "*.safetensors", "pytorch_model*.bin"


def checkpoint_identity(name: str) -> dict[str, str | None]:
    """`revision`: the commit of a hub's snapshot; `sha256`: of config and weights. None where there is none.

    name: as for `load_adapter`. Reads all weights once, a second or so for each gigabyte.
    """
    if name.startswith("random:"):
        return {"revision": None, "sha256": None}
    place = resolve_checkpoint(name)
    folder = Path(place) if Path(place).is_dir() else _snapshot(place)
    revision = folder.name if folder.parent.name == "snapshots" else None
    found = hashlib.sha256((folder / CONFIG_FILE).read_bytes())
    for path in sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                found.update(block)
    return {"revision": revision, "sha256": found.hexdigest()}


def _snapshot(hub_id: str) -> Path:
    """Where a checkpoint that was loaded lies in the hub's cache."""
    from transformers.utils import cached_file

    return Path(str(cached_file(hub_id, CONFIG_FILE))).parent
