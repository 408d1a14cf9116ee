"""API keys: who may talk to the server. Of a key only its SHA-256 is kept; a key of 256 random bits needs no more.

A key's name owns the sessions that it opens. Two keys of one name are one owner: that is how a key is replaced.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes_stream.errors import ConfigError, unknown_name

KEYS_VARIABLE = "HERMES_STREAM_API_KEYS"
_PREFIX = "hs_"
_N_BYTES = 32
# Of keys that people think up; those made here have 256 random bits.
_FEWEST_CHARACTERS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = "keys.json"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """digest: SHA-256 of the key. created_seconds: since 1970; None where nobody wrote it down."""

    name: str
    digest: bytes = field(repr=False)
    created_seconds: float | None = None


def digest_of(secret: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def parse_api_key(text: str) -> ApiKey:
    """A key as people write it down, `name:key` or the key alone. Raises ConfigError, which does not repeat the key."""
    name, separator, secret = text.strip().partition(":")
    if not separator:
        name, secret = "", name
    if len(secret) < _FEWEST_CHARACTERS or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError(
            f"the API key {name or '(without a name)'} has {len(secret)} characters; use at least "
            f"{_FEWEST_CHARACTERS}, ASCII and no blanks; `hermes-stream keys add` makes a good one"
        )
    digest = digest_of(secret)
    return ApiKey(_checked_name(name) if separator else f"key-{digest.hex()[:8]}", digest)


def api_keys_from(environment: Mapping[str, str], file: Path | None) -> tuple[ApiKey, ...]:
    """The keys of the variable HERMES_STREAM_API_KEYS (separated by commas) and of a file (one a line, `#` comments).

    Raises ConfigError for a file that cannot be read or has no key in it, and for what is no key.
    """
    texts = [text for text in environment.get(KEYS_VARIABLE, "").split(",") if text.strip()]
    if file is not None:
        texts += _lines(file)
    return tuple(parse_api_key(text) for text in texts)


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of API keys {file} cannot be read: {error}") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"the file of API keys {file} has no key in it; write one a line, as name:key")
    return keys


class KeyStore:
    """Keys in the state folder, as hashes; for `hermes-stream keys` and a running server at once."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / _FILE

    def read(self) -> tuple[ApiKey, ...]:
        """Raises ConfigError for a file that is something else."""
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))["keys"]
            return tuple(ApiKey(row["name"], bytes.fromhex(row["sha256"]), row["created_s"]) for row in rows)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path} is no list of keys of hermes-stream ({error!r}); restore or delete it"
            ) from error

    def add(self, name: str) -> str:
        """Make a key and return it: nobody can tell it again. Raises ConfigError for a name that is taken, or none."""
        secret = _PREFIX + secrets.token_urlsafe(_N_BYTES)
        with self._changing() as keys:
            if _checked_name(name) in {key.name for key in keys}:
                raise ConfigError(f"there is a key {name!r} already; remove it first, or take another name")
            keys.append(ApiKey(name, digest_of(secret), time.time()))
        return secret

    def remove(self, name: str) -> None:
        """Raises ConfigError where there is no key of that name."""
        with self._changing() as keys:
            kept = [key for key in keys if key.name != name]
            if len(kept) == len(keys):
                raise ConfigError(unknown_name("key", name, [key.name for key in keys]))
            keys[:] = kept

    def stamp(self) -> tuple[int, ...]:
        """Differs once the file has changed."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    @contextmanager
    def _changing(self) -> Iterator[list[ApiKey]]:
        """The keys, to be changed by one process at a time."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise ConfigError(f"the state folder {self.path.parent} cannot be used: {error.strerror}") from error
        with os.fdopen(descriptor) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = list(self.read())
            yield keys
            self._write(keys)

    def _write(self, keys: Sequence[ApiKey]) -> None:
        rows: list[dict[str, Any]] = [
            {"name": key.name, "sha256": key.digest.hex(), "created_s": key.created_seconds} for key in keys
        ]
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.touch(mode=0o600)
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump({"keys": rows}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)


class KeyRing:
    """All keys that a server knows. Keys that are added to or removed from the store count at once.

    Safe to use from several threads.
    """

    def __init__(
        self,
        given: Sequence[ApiKey] = (),
        store: KeyStore | None = None,
        *,
        on_trouble: Callable[[ConfigError], None] = lambda _: None,
    ) -> None:
        """given: keys of the environment and of a file. on_trouble: told if the store cannot be read while in use; the
        keys of before count then. Raises ConfigError if it cannot be read now.
        """
        self._given, self._store, self._on_trouble = tuple(given), store, on_trouble
        self._stamp = () if store is None else store.stamp()
        self._keys = (*self._given, *(() if store is None else store.read()))
        self._is_locked = bool(self._keys)

    @property
    def is_required(self) -> bool:
        """Whether a key must be shown. Once there was one it must: a server never opens up while it runs."""
        self._look_again()
        return self._is_locked

    def owner(self, secret: str) -> str | None:
        """The name of a key; None if it is none of ours. Takes as long for a wrong one as for a right one."""
        self._look_again()
        digest, found = digest_of(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.name
        return found

    def knows(self, name: str) -> bool:
        """Whether a key of that name still counts."""
        self._look_again()
        return any(key.name == name for key in self._keys)

    def _look_again(self) -> None:
        if self._store is None or (stamp := self._store.stamp()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = (*self._given, *self._store.read())
        except ConfigError as error:
            self._on_trouble(error)
        self._is_locked = self._is_locked or bool(self._keys)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name of a key; use up to 64 letters, digits, dots, dashes and underscores, as in camera-1"
        )
    return name
