"""Settings from a file, the command line and the environment."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.server.app import make_app
from hermes_stream.server.config_file import read_settings
from hermes_stream.server.settings import Limits, ServerSettings

_SECRET = "a-key-of-24-characters.."


def written(folder: Path, text: str) -> Path:
    file = folder / "server.toml"
    file.write_text(text)
    return file


def test_without_anything_the_defaults_hold() -> None:
    assert read_settings(None, {}, {}) == ServerSettings()


def test_a_file_says_everything_and_the_command_line_more(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        host = "0.0.0.0"
        port = 9000
        state_dir = "/var/lib/here"
        allow_networks = ["10.0.0.0/8"]
        [limits]
        max_sessions = 5
        idle_seconds = 60
        """,
    )
    settings = read_settings(file, {"port": 9001, "limits": {"idle_seconds": 90.0}}, {})
    assert (settings.host, settings.port, settings.state_dir) == ("0.0.0.0", 9001, Path("/var/lib/here"))
    assert settings.allow_networks == ("10.0.0.0/8",)
    assert settings.limits == Limits(max_sessions=5, idle_seconds=90.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "unknown setting in .*'prot'; did you mean port"),
        ("[limits]\nmax_session = 1", "unknown limit in .*'max_session'; did you mean max_sessions"),
        ("limits = 3", r"write a table, \[limits\]"),
        ("port = 99999", "port is 99999: .*65535"),
        ("[limits]\nmax_sessions = 0", "limits.max_sessions is 0"),
        ("port =", "no TOML"),
        ("encryption_key = 'x'", "unknown setting.*'encryption_key'; did you mean encryption_key_file"),
        ("api_keys = ['x']", "unknown setting.*'api_keys'; did you mean api_key_file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_settings(written(tmp_path, text), {}, {})
    assert "\n" not in str(caught.value).strip()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path / "none.toml", {}, {})


def test_keys_come_from_the_named_file_and_the_environment(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"camera:{_SECRET}\n")
    file = written(tmp_path, f'api_key_file = "{keys}"')
    settings = read_settings(file, {}, {"HERMES_STREAM_API_KEYS": f"other:{_SECRET}"})
    assert [key.name for key in settings.api_keys] == ["other", "camera"]
    assert _SECRET not in repr(settings)


def test_the_encryption_key_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(b64encode(bytes(range(32))).decode() + "\n")
    environment = {"HERMES_STREAM_ENCRYPTION_KEY": "ab" * 32}
    assert read_settings(None, {}, environment).encryption_key == b"\xab" * 32
    settings = read_settings(None, {"encryption_key_file": file}, environment)
    assert settings.encryption_key == bytes(range(32))
    assert "\\x00\\x01" not in repr(settings)


@pytest.mark.parametrize("text", ["too short", "zz" * 32])
def test_an_encryption_key_that_is_none_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="32 bytes") as caught:
        read_settings(None, {}, {"HERMES_STREAM_ENCRYPTION_KEY": text})
    assert text not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_beyond_this_machine_nothing_is_served_without_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="without an API key"):
        make_app(ServerSettings(host=host), {})


@pytest.mark.parametrize("settings", [{"host": "localhost"}, {"host": "::1"}, {"host": "127.0.0.2"}])
def test_on_this_machine_it_is(settings: dict[str, Any]) -> None:
    assert make_app(ServerSettings(**settings), {}).title == "hermes-stream"


def test_beyond_this_machine_it_is_with_a_key() -> None:
    settings = read_settings(None, {"host": "0.0.0.0"}, {"HERMES_STREAM_API_KEYS": _SECRET})
    assert make_app(settings, {}).title == "hermes-stream"
