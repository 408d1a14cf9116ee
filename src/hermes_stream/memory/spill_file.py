"""Tensors in a file: where an archive goes that is larger than host memory may be."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from hermes_stream.errors import LimitError
from hermes_stream.memory.regions import Regions

_ZEROS = bytes(2**20)


class SpillFile:
    """An unnamed file; it goes with the last reader. What nobody reads any more gives its place to what comes.

    Used on one thread, but its tensors may be dropped on any.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, prefix="hermes-stream-archive-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._regions = Regions()
        # A deque takes them from whatever thread drops the last reference, in the middle of anything.
        self._returned: deque[tuple[int, int]] = deque()
        self._doomed: set[int] = set()

    @property
    def n_bytes(self) -> int:
        """Bytes of tensors that somebody may still read."""
        self._take_back()
        return self._regions.n_rows - self._regions.n_free

    def write(self, tensor: torch.Tensor) -> FileTensor:
        """Raises LimitError if the disk takes no more."""
        data = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        start = self._room_for(len(data))
        try:
            self._file.seek(start)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            self._regions.give_back(start, len(data))
            raise LimitError(f"the archive cannot be written to {self._folder}: {error.strerror}") from error
        stored = FileTensor(self, start, len(data), tensor.shape, tensor.dtype)
        weakref.finalize(stored, self._release, start, len(data)).atexit = False
        return stored

    def read(self, start: int, n_bytes: int) -> bytes:
        return os.pread(self._file.fileno(), n_bytes, start)

    def erase_when_free(self, stored: FileTensor) -> None:
        """Overwrite a tensor's bytes with zeros once nobody holds it any more."""
        if stored.n_bytes:
            self._doomed.add(stored.start)

    def flush(self) -> None:
        """Wait until what was overwritten is so on the disk."""
        os.fsync(self._file.fileno())

    def _release(self, start: int, n_bytes: int) -> None:
        if start in self._doomed:
            self._doomed.discard(start)
            for place in range(start, start + n_bytes, len(_ZEROS)):
                os.pwrite(self._file.fileno(), _ZEROS[: start + n_bytes - place], place)
        self._returned.append((start, n_bytes))

    def _room_for(self, n_bytes: int) -> int:
        if not n_bytes:
            return 0
        self._take_back()
        start = self._regions.take(n_bytes)
        if start is None:
            self._regions.grow(n_bytes - self._regions.free_at_end)
            start = self._regions.take(n_bytes)
        assert start is not None
        return start

    def _take_back(self) -> None:
        while self._returned:
            self._regions.give_back(*self._returned.popleft())


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class FileTensor:
    """A tensor that is read when it is needed."""

    file: SpillFile
    start: int
    n_bytes: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def is_on_disk(self) -> bool:
        return True

    def load(self) -> torch.Tensor:
        data = bytearray(self.file.read(self.start, self.n_bytes))
        if not data:
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.frombuffer(data, dtype=torch.uint8).view(self.dtype).reshape(self.shape)
