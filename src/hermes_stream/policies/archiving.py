"""Options that all policies with an archive share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from hermes_stream.errors import ConfigError
from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.budget import parse_budget
from hermes_stream.memory.packed_rows import Bits
from hermes_stream.policies.base import Policy
from hermes_stream.policies.part import as_number


def _check_size(text: str) -> str:
    try:
        size = parse_budget(text)
    except ConfigError as error:
        raise ValueError("a number of bytes such as 8GiB") from error
    if size.unit != "bytes":
        raise ValueError("a number of bytes such as 8GiB")
    return text


Size = Annotated[str, AfterValidator(_check_size)]
Precision = Annotated[Bits, BeforeValidator(as_number)]


class ArchivingPolicy(Policy):
    """A policy whose plans copy rows out of the memory, into host memory or onto a disk.

    The budget bounds what stays resident. bits: of an archived number; 16 is the model's own precision, 8 and 4 are
    quantised once, when a row is archived. host: most bytes in host memory. disk: a folder for what is beyond it, up
    to disk_limit; without one, a stream whose archive is full ends with an error. A file there goes with its stream.
    """

    # Whether the rows of each frame have minima and scales of their own, or all that are archived together.
    scales_per_frame: ClassVar[bool] = False

    bits: Precision = 16
    host: Size = "8GiB"
    disk: Path | None = None
    disk_limit: Size = Field(default="64GiB")

    @property
    def archive(self) -> ArchiveSettings:
        return ArchiveSettings(
            bits=self.bits,
            per_frame=self.scales_per_frame,
            host_bytes=parse_budget(self.host).amount,
            disk=self.disk,
            disk_bytes=parse_budget(self.disk_limit).amount,
        )
