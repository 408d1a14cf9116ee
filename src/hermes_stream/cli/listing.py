"""`hermes-stream models` and `hermes-stream policies`: what there is."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.output import human_bytes, put_json

if TYPE_CHECKING:
    from hermes_stream.policies.part import Part


def models(*, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List the bundled models and the families that can be loaded.

    Parameters
    ----------
    json
        Print one JSON object per bundled model.
    """
    from hermes_stream.models.load import DEFAULTS_FILE, bundled_models, supported_families

    for name, folder in bundled_models().items():
        config = json_module.loads((folder / "config.json").read_text(encoding="utf-8"))
        defaults = json_module.loads((folder / DEFAULTS_FILE).read_text(encoding="utf-8"))
        n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if json:
            put_json({"name": name, "family": config["model_type"], "bytes": n_bytes, **defaults})
        else:
            strings = defaults.pop("commentary", None)
            settings = ", ".join(f"{key.replace('_', ' ')} {_spoken(value)}" for key, value in defaults.items())
            settings += ", narrates" if strings else ""
            print(f"{name:26} bundled, {human_bytes(n_bytes)}; {settings}")
    if not json:
        print(f"families: {', '.join(supported_families())} (a checkpoint folder or a hub id owner/name)")


def policies(*, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List what a memory is made of: stores, front-ends before them, wrappers around them.

    Parameters
    ----------
    json
        Print one JSON object for each.
    """
    from hermes_stream.policies.catalogue import KINDS, part_json

    forms = {"store": "STORE", "front-end": "FRONT-END | STORE", "wrapper": "STORE + WRAPPER"}
    for kind, parts in KINDS.items():
        if not json:
            print(f'{kind}s, as in --memory "{forms[kind]}"')
        for name, part in sorted(parts.items()):
            if json:
                put_json(part_json(kind, name, part))
            else:
                _print_part(name, part)


def _print_part(name: str, part: type[Part]) -> None:
    options = {key: field.default for key, field in part.options().items()}
    print(f"{name:16} {part.describe()}")
    print(f"{'':16} options: {', '.join(f'{key}={value}' for key, value in options.items())}")
    if part.presets:
        print(f"{'':16} presets: {', '.join(sorted(part.presets))}")


def _spoken(value: float | list[int]) -> str:
    return " and ".join(str(part) for part in value) if isinstance(value, list) else f"{value:g}"
