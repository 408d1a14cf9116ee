"""API keys: read, made, compared, and forgotten."""

from __future__ import annotations

import hashlib
import json
import stat
import threading
from pathlib import Path

import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.server.access.keys import ApiKey, KeyRing, KeyStore, api_keys_from, parse_api_key

_SECRET = "a-key-of-24-characters.."


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def test_a_key_is_read_with_its_name_and_kept_as_its_hash() -> None:
    assert parse_api_key(f"camera-1:{_SECRET}") == ApiKey("camera-1", _sha256(_SECRET))


def test_a_key_may_have_colons() -> None:
    assert parse_api_key("name:sixteen:chars:and:more").digest == _sha256("sixteen:chars:and:more")


def test_a_key_without_a_name_has_always_the_same_one() -> None:
    names = {parse_api_key(_SECRET).name, parse_api_key(f"  {_SECRET} ").name}
    assert len(names) == 1
    assert names != {parse_api_key(_SECRET + "x").name}


@pytest.mark.parametrize(
    "text", ["name:short", "", "name:", f"bad name:{_SECRET}", f"name:{'ü' * 20}", "a b c d e f g h i j"]
)
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_api_key(text)
    secret = text.partition(":")[2] or text
    assert not secret or secret not in str(caught.value)


def test_keys_come_from_the_environment_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# for cameras\n\ncamera:{_SECRET}\n")
    environment = {"HERMES_STREAM_API_KEYS": f"first:{_SECRET}1, second:{_SECRET}2,"}
    assert [key.name for key in api_keys_from(environment, file)] == ["first", "second", "camera"]
    assert api_keys_from({}, None) == ()


@pytest.mark.parametrize("content", [None, b"# nothing\n", b"\xff\xfe"])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="keys"):
        api_keys_from({}, file)


def test_a_ring_knows_its_keys_and_no_others() -> None:
    ring = KeyRing([parse_api_key(f"one:{_SECRET}1"), parse_api_key(f"two:{_SECRET}2")])
    assert ring.is_required
    assert [ring.owner(secret) for secret in (f"{_SECRET}1", f"{_SECRET}2", _SECRET, "", "\udcff")] == [
        "one", "two", None, None, None,
    ]  # fmt: skip


def test_two_keys_of_one_name_are_one_owner() -> None:
    ring = KeyRing([parse_api_key(f"one:{_SECRET}1"), parse_api_key(f"one:{_SECRET}2")])
    assert ring.owner(f"{_SECRET}1") == ring.owner(f"{_SECRET}2") == "one"


def test_a_stored_key_is_random_and_stands_nowhere(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    first, second = store.add("one"), store.add("two")
    assert first != second
    assert len(first) >= 43
    text = store.path.read_text()
    assert first not in text
    assert [row["sha256"] for row in json.loads(text)["keys"]] == [_sha256(first).hex(), _sha256(second).hex()]
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_a_name_is_taken_once_and_free_again_when_removed(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.add("camera")
    with pytest.raises(ConfigError, match="already"):
        store.add("camera")
    store.remove("camera")
    assert store.read() == ()
    store.add("camera")
    with pytest.raises(ConfigError, match="did you mean camera"):
        store.remove("camra")


def test_keys_that_are_added_at_once_are_all_there(tmp_path: Path) -> None:
    names = [f"key-{i}" for i in range(8)]
    threads = [threading.Thread(target=KeyStore(tmp_path).add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in KeyStore(tmp_path).read()) == names


def test_a_running_ring_takes_and_drops_stored_keys(tmp_path: Path) -> None:
    store, ring = KeyStore(tmp_path), KeyRing((), KeyStore(tmp_path))
    assert not ring.is_required
    secret = store.add("camera")
    assert ring.is_required
    assert ring.owner(secret) == "camera"
    assert ring.knows("camera")
    store.remove("camera")
    assert ring.owner(secret) is None
    assert not ring.knows("camera")


def test_a_ring_never_opens_up_again(tmp_path: Path) -> None:
    """With its last key gone nobody gets in; the opposite would be a door that opens when somebody tidies up."""
    store, ring = KeyStore(tmp_path), KeyRing((), KeyStore(tmp_path))
    store.add("camera")
    assert ring.is_required
    store.remove("camera")
    assert ring.is_required


def test_a_store_that_breaks_keeps_the_keys_of_before(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    secret = store.add("camera")
    told: list[ConfigError] = []
    ring = KeyRing((), store, on_trouble=told.append)
    store.path.write_text("{")
    assert ring.owner(secret) == "camera"
    assert "keys.json" in str(told[0])
    with pytest.raises(ConfigError, match="no list of keys"):
        KeyRing((), store)
