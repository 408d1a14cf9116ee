"""A server's settings: from a TOML file, the command line and the environment, into one checked object."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from hermes_stream.errors import ConfigError, unknown_name
from hermes_stream.sealing import parse_key
from hermes_stream.server.access.keys import api_keys_from
from hermes_stream.server.settings import Limits, ServerSettings

ENCRYPTION_VARIABLE = "HERMES_STREAM_ENCRYPTION_KEY"
# These are what files and the environment hold; they stand in no settings.
_SECRET = frozenset({"api_keys", "encryption_key"})


def read_settings(file: Path | None, given: Mapping[str, Any], environment: Mapping[str, str]) -> ServerSettings:
    """The settings of a server, its keys included.

    file: TOML with the fields of `ServerSettings`, and a table `limits`. given: fields that count more, those of
    `limits` too. environment: HERMES_STREAM_API_KEYS, HERMES_STREAM_ENCRYPTION_KEY.
    Raises ConfigError for names that do not exist, values that cannot be, and files that cannot be read.
    """
    written = {} if file is None else _read(file)
    limits = {**written.get("limits", {}), **given.get("limits", {})}
    settings = _checked({**written, **given, "limits": limits}, file)
    return settings.model_copy(
        update={
            "api_keys": api_keys_from(environment, settings.api_key_file),
            "encryption_key": _encryption_key(settings.encryption_key_file, environment),
        }
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the settings {file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}") from error
    _check_names(values, ServerSettings, f"setting in {file}")
    if isinstance(limits := values.get("limits", {}), dict):
        _check_names(limits, Limits, f"limit in {file}")
    else:
        raise ConfigError(f"limits in {file} is {limits!r}; write a table, [limits]")
    return values


def _check_names(values: Mapping[str, Any], model: type[BaseModel], what: str) -> None:
    known = set(model.model_fields) - _SECRET
    for name in values:
        if name not in known:
            raise ConfigError(unknown_name(what, name, known))


def _checked(values: dict[str, Any], file: Path | None) -> ServerSettings:
    try:
        return ServerSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        origin = "" if file is None else f" (see also {file})"
        raise ConfigError(f"{place} is {first['input']!r}: {first['msg']}{origin}") from error


def _encryption_key(file: Path | None, environment: Mapping[str, str]) -> bytes | None:
    text = environment.get(ENCRYPTION_VARIABLE, "").strip()
    if file is not None:
        try:
            text = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the encryption key {file} cannot be read: {error}") from error
    return parse_key(text) if text else None
