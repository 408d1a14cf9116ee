"""How a server is run, and how a session is opened: strict, frozen, the same from the command line, a file and HTTP."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from hermes_stream.server.access.keys import ApiKey

_MIB = 2**20


class Limits(BaseModel):
    """What one client, or all together, may take.

    max_sessions: of the server. max_sessions_per_key, questions_per_minute: of each key; without keys, of everybody.
    idle_seconds: a session that nobody feeds and asks for so long is closed; its last snapshot stays. None: never.
    max_frame_bytes, max_frame_pixels: of a pushed picture. max_video_bytes: of a video inside a request.
    max_snapshot_bytes: of a snapshot that is uploaded. max_body_bytes: of any other request.
    max_open_questions: of a session, at once. max_alerts: standing questions of a session.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_sessions: int = Field(default=64, ge=1)
    max_sessions_per_key: int = Field(default=16, ge=1)
    questions_per_minute: int = Field(default=600, ge=1)
    idle_seconds: float | None = Field(default=None, gt=0)
    max_frame_bytes: int = Field(default=8 * _MIB, ge=1024)
    max_frame_pixels: int = Field(default=4096 * 4096, ge=256)
    max_video_bytes: int = Field(default=256 * _MIB, ge=1024)
    max_snapshot_bytes: int = Field(default=8 * 1024 * _MIB, ge=1024)
    max_body_bytes: int = Field(default=2 * _MIB, ge=1024)
    max_open_questions: int = Field(default=16, ge=1)
    max_alerts: int = Field(default=16, ge=0)


class ServerSettings(BaseModel):
    """A server.

    state_dir: where sessions are kept over a restart; None keeps nothing. save_seconds: between two saves.
    shared: folder or address of a store by which several servers are a fleet, in place of a state_dir.
    shared_ttl_seconds: after so long without a sign of life of a server, others take its sessions.
    keep_snapshots: how many older ones of a session stay, for questions about the past.
    allow_local_files: folders below which files may be watched. allow_networks: addresses that are not public but may
    be watched, as in 10.0.0.0/8. allow_origins: of web pages elsewhere that may talk to this server.
    api_key_file: of keys, one a line; api_keys: these and those of the environment. encryption_key_file: of the
    encryption_key, 32 bytes with which what is written to the state folder is sealed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    state_dir: Path | None = None
    shared: Annotated[str, Field(min_length=1)] | None = None
    shared_ttl_seconds: float = Field(default=10.0, gt=0)
    save_seconds: float = Field(default=10.0, gt=0)
    keep_snapshots: int = Field(default=8, ge=0)
    allow_local_files: tuple[Path, ...] = ()
    allow_networks: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    api_key_file: Path | None = None
    encryption_key_file: Path | None = None
    api_keys: tuple[ApiKey, ...] = Field(default=(), repr=False)
    encryption_key: bytes | None = Field(default=None, repr=False)
    limits: Limits = Limits()

    @field_validator("allow_networks")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(network, strict=False)) for network in networks)

    @field_validator("shared")
    @classmethod
    def _check_shared(cls, shared: str | None, info: ValidationInfo) -> str | None:
        if shared is not None and info.data.get("state_dir") is not None:
            raise ValueError("there is a state_dir too; sessions are kept in one place")
        return shared

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class SessionSpec(BaseModel):
    """What a session is opened with.

    source: an address that the server opens itself; without one, frames are pushed. model: one of those served.
    memory, budget, memory_bits, chunk: as of `Engine.open`. fps: frames per second to look at; by default the model's.
    speed: of a source with an end: 1 is its own pace, 2 twice that, 0 as fast as it goes. name: for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    model: str | None = None
    memory: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    budget: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1, max_length=32)] | None = None
    memory_bits: Literal[8, 16] | None = None
    chunk: Annotated[int, Field(ge=1, le=4096)] | None = None
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    speed: float = Field(default=1.0, ge=0, le=1000)
    name: Annotated[str, Field(max_length=200)] | None = None
