"""Files under a key: AES-256-GCM, a chunk at a time, so that size has no limit.

A sealed file is a head (what it is, bytes of a chunk, a salt, a check of the key) and chunks, each with its tag. Salt
and key give a key for this file alone (HKDF-SHA256). A chunk's nonce is its number and whether it is the last one, and
the head is authenticated with every chunk: nothing can be changed, left out, moved or cut off unnoticed.

The package `cryptography` (extra `encryption`) is imported when something is sealed or opened.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import io
import re
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from hermes_stream.errors import ConfigError, SealError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
CHUNK_BYTES = 2**26
_MAGIC = b"hermes-sealed-1\n"
_SALT_BYTES, _CHECK_BYTES, _TAG_BYTES = 32, 16, 16
_HEAD_BYTES = len(_MAGIC) + 4 + _SALT_BYTES + _CHECK_BYTES
# No file has larger ones: a damaged head must not ask for more memory than there is.
_LARGEST_CHUNK_BYTES = 2**30


def parse_key(text: str) -> bytes:
    """A key from text: 64 hexadecimal digits, or base64 of 32 bytes. Raises ConfigError, which does not quote it."""
    text = text.strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        # The alphabets of base64 differ in two characters, and the end may lack its padding.
        key = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"the key has {len(text)} characters; expected 64 hexadecimal digits, or base64 of 32 bytes")
    return key


def seal(target: BinaryIO, key: bytes, *, chunk_bytes: int = CHUNK_BYTES) -> SealedWriter:
    """What is written to the result comes sealed to the target, complete when a `with` around it ends without error.

    Raises ConfigError for a key that is none, or without the package `cryptography`.
    """
    return SealedWriter(target, _Chunks.new(key, chunk_bytes))


def open_sealed(source: BinaryIO, key: bytes) -> io.BufferedReader:
    """A stream of what was sealed; no byte is given out that was not checked.

    Raises SealError, here or while it is read, for what is not sealed, was sealed with another key, or is damaged.
    """
    return io.BufferedReader(_SealedReader(source, _Chunks.of_head(source.read(_HEAD_BYTES), key)))


def seal_bytes(data: bytes, key: bytes) -> bytes:
    """The same for a few bytes."""
    target = io.BytesIO()
    with seal(target, key) as sealed:
        sealed.write(data)
    return target.getvalue()


def open_sealed_bytes(sealed: bytes, key: bytes) -> bytes:
    """What was given to `seal_bytes`. Raises SealError as `open_sealed` does."""
    return open_sealed(io.BytesIO(sealed), key).read()


def is_sealed(source: BinaryIO) -> bool:
    """Whether a file begins as sealed ones do; it stays where it is."""
    place = source.tell()
    start = source.read(len(_MAGIC))
    source.seek(place)
    return start == _MAGIC


class SealedWriter(io.RawIOBase):
    """Seals what is written, chunk by chunk. The last chunk is written when a `with` block ends without error.

    The target stays open.
    """

    def __init__(self, target: BinaryIO, chunks: _Chunks) -> None:
        self._target, self._chunks = target, chunks
        self._waiting = bytearray()
        self._n_chunks = 0
        target.write(chunks.head)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        n_bytes = len(rest)
        while rest:
            # A full chunk waits for what follows: only then it is not the last one.
            if len(self._waiting) == self._chunks.n_bytes:
                self._write_chunk(is_last=False)
            room = self._chunks.n_bytes - len(self._waiting)
            self._waiting += rest[:room]
            rest = rest[room:]
        return n_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_chunk(is_last=True)

    def _write_chunk(self, *, is_last: bool) -> None:
        self._target.write(self._chunks.seal(bytes(self._waiting), self._n_chunks, is_last=is_last))
        self._waiting.clear()
        self._n_chunks += 1


class _SealedReader(io.RawIOBase):
    def __init__(self, source: BinaryIO, chunks: _Chunks) -> None:
        self._source, self._chunks = source, chunks
        self._sealed = self._next_sealed()
        self._n_chunks = 0
        self._opened = memoryview(b"")
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        n_read = 0
        while n_read < len(target) and (self._opened or not self._is_over):
            if not self._opened:
                self._open_chunk()
            part = self._opened[: len(target) - n_read]
            target[n_read : n_read + len(part)] = part
            self._opened = self._opened[len(part) :]
            n_read += len(part)
        return n_read

    def _open_chunk(self) -> None:
        following = self._next_sealed()
        self._is_over = not following
        self._opened = memoryview(self._chunks.open(self._sealed, self._n_chunks, is_last=self._is_over))
        self._sealed = following
        self._n_chunks += 1

    def _next_sealed(self) -> bytes:
        return self._source.read(self._chunks.n_bytes + _TAG_BYTES)


@dataclass(frozen=True, slots=True)
class _Chunks:
    """One file's head, its cipher, and bytes of a chunk."""

    head: bytes
    cipher: AESGCM
    n_bytes: int

    @staticmethod
    def new(key: bytes, n_bytes: int) -> _Chunks:
        if not 0 < n_bytes <= _LARGEST_CHUNK_BYTES:
            raise ConfigError(f"chunks of {n_bytes} bytes; expected 1 to {_LARGEST_CHUNK_BYTES}")
        salt = secrets.token_bytes(_SALT_BYTES)
        file_key, check = _derive(key, salt)
        return _Chunks(_MAGIC + n_bytes.to_bytes(4, "big") + salt + check, _cipher(file_key), n_bytes)

    @staticmethod
    def of_head(head: bytes, key: bytes) -> _Chunks:
        if not head.startswith(_MAGIC):
            raise SealError("it is not sealed")
        rest = memoryview(head)[len(_MAGIC) :]
        n_bytes = int.from_bytes(rest[:4], "big")
        if len(head) < _HEAD_BYTES or not 0 < n_bytes <= _LARGEST_CHUNK_BYTES:
            raise SealError("it is damaged: its head is not whole")
        file_key, check = _derive(key, bytes(rest[4 : 4 + _SALT_BYTES]))
        if not hmac.compare_digest(check, rest[4 + _SALT_BYTES :]):
            raise SealError("it was sealed with another key, or its head is damaged")
        return _Chunks(head, _cipher(file_key), n_bytes)

    def seal(self, data: bytes, number: int, *, is_last: bool) -> bytes:
        return self.cipher.encrypt(_nonce(number, is_last), data, self.head)

    def open(self, sealed: bytes, number: int, *, is_last: bool) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self.cipher.decrypt(_nonce(number, is_last), sealed, self.head)
        except InvalidTag as error:
            raise SealError(f"it is damaged: chunk {number} was changed, or what follows it is missing") from error


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _derive(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """The file's own key, and a check that tells another key from damage and gives nothing away."""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"the key has {len(key)} bytes; expected {KEY_BYTES}, as parse_key makes of text")
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise ConfigError(
            "sealed files need the package cryptography; install it, or hermes-stream with the extra encryption"
        ) from error
    derived = HKDF(SHA256(), KEY_BYTES + _CHECK_BYTES, salt, _MAGIC).derive(key)
    return derived[:KEY_BYTES], derived[KEY_BYTES:]


def _cipher(file_key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(file_key)
