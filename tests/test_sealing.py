"""Sealed files: what comes back is what was written, or an error; nothing is changed, moved or cut off unnoticed."""

from __future__ import annotations

import base64
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream import UsageError
from hermes_stream.errors import ConfigError, SealError
from hermes_stream.sealing import (
    is_sealed,
    open_sealed,
    open_sealed_bytes,
    parse_key,
    seal,
    seal_bytes,
)

KEY = bytes(range(32))
CHUNK, TAG, HEAD = 16, 16, 68


def sealed(data: bytes, pieces: tuple[int, ...] = ()) -> bytes:
    """Sealed in chunks of 16 bytes, written in pieces."""
    target = io.BytesIO()
    with seal(target, KEY, chunk_bytes=CHUNK) as writer:
        for n in pieces:
            writer.write(data[:n])
            data = data[n:]
        writer.write(data)
    return target.getvalue()


def opened(content: bytes, key: bytes = KEY) -> bytes:
    return open_sealed(io.BytesIO(content), key).read()


@given(
    data=st.binary(max_size=100),
    pieces=st.lists(st.integers(0, 40), max_size=5).map(tuple),
    reads=st.lists(st.integers(1, 40), max_size=5),
)
def test_what_was_written_is_read(data: bytes, pieces: tuple[int, ...], reads: list[int]) -> None:
    """However it is cut; a chunk that is exactly full, and nothing at all, included."""
    content = sealed(data, pieces)
    assert len(content) == HEAD + len(data) + TAG * max(-(-len(data) // CHUNK), 1)
    stream = open_sealed(io.BytesIO(content), KEY)
    parts = [stream.read(n) for n in reads]
    assert b"".join([*parts, stream.read()]) == data
    assert open_sealed_bytes(seal_bytes(data, KEY), KEY) == data


@given(data=st.binary(max_size=70), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(data: bytes, place: int, bit: int) -> None:
    content = bytearray(sealed(data))
    content[place % len(content)] ^= 1 << bit
    with pytest.raises(SealError):
        opened(bytes(content))


@given(data=st.binary(max_size=70), n_bytes=st.integers(0, 10**6), more=st.binary(min_size=1, max_size=40))
def test_nothing_can_be_cut_off_or_put_behind(data: bytes, n_bytes: int, more: bytes) -> None:
    content = sealed(data)
    for changed in (content[: n_bytes % len(content)], content + more):
        with pytest.raises(SealError):
            opened(changed)


def test_chunks_cannot_be_moved_left_out_or_taken_from_another_file() -> None:
    data = bytes(range(4 * CHUNK))
    content, other = sealed(data), sealed(data)

    def chunks_of(file: bytes) -> list[bytes]:
        return [file[start : start + CHUNK + TAG] for start in range(HEAD, len(file), CHUNK + TAG)]

    head, chunks = content[:HEAD], chunks_of(content)
    assert opened(head + b"".join(chunks)) == data
    for order in ([1, 0, 2, 3], [0, 2, 3], [0, 1, 2], [0, 1, 1, 2, 3], [0, 1, 3, 2], [3]):
        with pytest.raises(SealError, match="it is damaged: chunk"):
            opened(head + b"".join(chunks[index] for index in order))
    with pytest.raises(SealError):
        opened(head + b"".join([chunks[0], chunks_of(other)[1], *chunks[2:]]))
    with pytest.raises(SealError):
        opened(head[:20] + other[20:HEAD] + b"".join(chunks))


def test_the_same_data_is_never_sealed_alike() -> None:
    assert sealed(b"twice") != sealed(b"twice")


def test_what_is_read_before_the_damage_was_checked() -> None:
    content = sealed(bytes(range(3 * CHUNK)))
    stream = open_sealed(io.BytesIO(content[:-1]), KEY)
    with pytest.raises(SealError, match="chunk 2 was changed, or what follows it is missing"):
        stream.read()


def test_a_writer_that_fails_leaves_nothing_that_could_be_opened() -> None:
    target = io.BytesIO()
    with pytest.raises(ZeroDivisionError), seal(target, KEY, chunk_bytes=CHUNK) as writer:  # noqa: PT012
        writer.write(bytes(40))
        _ = 1 / 0
    with pytest.raises(SealError):
        opened(target.getvalue())


def test_another_key_and_what_is_not_sealed() -> None:
    with pytest.raises(SealError, match="it was sealed with another key, or its head is damaged"):
        opened(sealed(b"x"), bytes(32))
    for content in (b"", b"a letter to a friend", bytes(200)):
        assert not is_sealed(io.BytesIO(content))
        with pytest.raises(SealError, match="it is not sealed"):
            opened(content)
    source = io.BytesIO(sealed(b"x"))
    assert is_sealed(source)
    assert source.tell() == 0
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(ConfigError, match=rf"the key has {len(key)} bytes; expected 32"):
            seal(io.BytesIO(), key)


@pytest.mark.parametrize("chunk_bytes", [0, -1, 2**30 + 1])
def test_chunks_that_nobody_would_open_are_not_written(chunk_bytes: int) -> None:
    with pytest.raises(ConfigError, match=f"chunks of {chunk_bytes} bytes; expected 1 to 1073741824"):
        seal(io.BytesIO(), KEY, chunk_bytes=chunk_bytes)


def test_keys_from_text() -> None:
    key = bytes(range(200, 232))
    standard, plain = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode().rstrip("=")
    for text in (key.hex(), key.hex().upper(), standard, plain, f"  {standard}\n"):
        assert parse_key(text) == key
    for text in ("", "secret", key.hex()[:-1], key.hex() + "0", standard[:-5], "ü" * 43, "*" * 44):
        with pytest.raises(UsageError, match=rf"the key has {len(text.strip())} characters; expected 64") as caught:
            parse_key(text)
        assert "\n" not in str(caught.value)
        assert not text or text not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.hashes", None)
    with pytest.raises(ConfigError, match="need the package cryptography; install it, or hermes-stream with the extra"):
        seal(io.BytesIO(), KEY)
