"""Memories as text: `front-end | store + wrapper`, each `name[:preset][(key=value, ...)]`; one grammar everywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from hermes_stream.errors import ConfigError, PolicyError, unknown_name
from hermes_stream.memory.budget import parse_budget
from hermes_stream.policies import POLICIES, WRAPPERS
from hermes_stream.policies.base import Policy
from hermes_stream.policies.front_ends import FRONT_ENDS
from hermes_stream.policies.front_ends.base import FrontEnd
from hermes_stream.policies.part import Part
from hermes_stream.policies.wrapper import Wrapper

_FORM = re.compile(r"([^\s:()]+)\s*(?::\s*([^\s:()]+)\s*)?(?:\((.*)\))?", re.DOTALL)
_EXAMPLE = "expected name, name:preset or name(option=value, ...), as in hermes(reindex=eager)"
# A value in quotes, with what stands before it: an apostrophe within a bare value opens nothing.
_QUOTED = re.compile(r"""(?<=[=(,\[])\s*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""")

_P = TypeVar("_P", bound=Part)


def parse_memory(text: str, budget: str | int | None = None, *, bytes_per_token: int | None = None) -> Policy:
    """The policy that a text describes, as in `hermes:released(reindex=eager, budget=256)`.

    A composition is `front-end | store + wrapper`, as in `dtd(drop=0.5) | hermes(budget=256) + recent(frames=4)`, any
    number of each but the store; its budget stands in the store's parentheses and is that of the whole.
    budget: for a text that names none; a policy without bounds ignores it. bytes_per_token: of the model, over all
    layers; needed only where a budget is given in bytes.
    Raises PolicyError, in one line, for a name, preset or option that does not exist, a value that cannot be, and parts
    that cannot be together.
    """
    policy = _compose(text, bytes_per_token)
    if budget is None:
        return policy
    if policy.budget is not None:
        raise PolicyError(f"two budgets: {policy.budget} in {text!r} and {budget} beside it; give one")
    return policy.with_budget(_budget_tokens(budget, bytes_per_token))


def _compose(text: str, bytes_per_token: int | None) -> Policy:
    *before, chain = _split(text, "|")
    front_ends = tuple(_build(*_front_end(part)) for part in before)
    store, *around = _split(chain, "+")
    store_class, options = _store(store)
    if "budget" in options:
        options["budget"] = _budget_tokens(options["budget"], bytes_per_token)
    wrappers = [_wrapper(part, store) for part in around]
    if not wrappers:
        return _build(store_class, {**options, "front_ends": front_ends})
    policy = _build(store_class, options)
    for wrapper_class, own in wrappers[:-1]:
        policy = _build(wrapper_class, {**own, "inner": policy})
    wrapper_class, own = wrappers[-1]
    return _build(wrapper_class, {**own, "inner": policy, "front_ends": front_ends})


def _front_end(text: str) -> tuple[type[FrontEnd], dict[str, Any]]:
    name, preset, arguments = _parts(text)
    if name in POLICIES:
        raise PolicyError(f"{name} is a store; before | stand front-ends, such as dtd(drop=0.5)")
    if name in WRAPPERS:
        raise PolicyError(f"{name} is a wrapper and stands behind the store, as in hermes + {name}")
    return _known(FRONT_ENDS, name), _all_options(FRONT_ENDS[name], preset, arguments)


def _store(text: str) -> tuple[type[Policy], dict[str, Any]]:
    name, preset, arguments = _parts(text)
    if name in FRONT_ENDS:
        raise PolicyError(f"{name} is a front-end and needs a store behind it, as in {name} | hermes")
    if name in WRAPPERS:
        raise PolicyError(f"{name} is a wrapper and needs a store before it, as in hermes + {name}")
    return _known(POLICIES, name), _all_options(POLICIES[name], preset, arguments)


def _wrapper(text: str, store: str) -> tuple[type[Wrapper], dict[str, Any]]:
    name, preset, arguments = _parts(text)
    if name in POLICIES:
        raise PolicyError(f"two stores: {store} and {text}; a memory has one, and behind + wrappers such as recent")
    if name in FRONT_ENDS:
        raise PolicyError(f"{name} is a front-end and stands before the store, as in {name} | hermes")
    return _known(WRAPPERS, name), _all_options(WRAPPERS[name], preset, arguments)


def _known(parts: Mapping[str, type[_P]], name: str) -> type[_P]:
    if name not in parts:
        raise PolicyError(unknown_name("memory policy", name, {*POLICIES, *FRONT_ENDS, *WRAPPERS}))
    return parts[name]


def _all_options(part_class: type[Part], preset: str | None, arguments: str) -> dict[str, Any]:
    return {**_preset(part_class, preset), **_options(part_class, arguments)}


def split_policies(text: str) -> list[str]:
    """The policies of a list such as `hermes(budget=256), uniform`: commas inside parentheses do not split."""
    policies = _split(text, ",")
    if "" in policies:
        raise PolicyError(f"an empty entry in the list of memory policies {text!r}")
    return policies


def _parts(text: str) -> tuple[str, str | None, str]:
    """Name, preset and what stands between the parentheses."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise PolicyError(f"cannot read the memory policy {text!r}; {_EXAMPLE}")
    return match[1], match[2], match[3] or ""


def _split(text: str, separators: str) -> list[str]:
    """Split at separators outside brackets and quoted values; parts are stripped."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(_QUOTED.sub(lambda match: "_" * len(match[0]), text)):
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            break
        if depth == 0 and character in separators:
            parts.append(text[start:index].strip())
            start = index + 1
    if depth != 0:
        raise PolicyError(f"unbalanced parentheses in the memory policy {text!r}")
    return [*parts, text[start:].strip()]


def _preset(part_class: type[Part], preset: str | None) -> dict[str, Any]:
    if preset is None:
        return {}
    if not part_class.presets:
        raise PolicyError(f"{part_class.name} has no presets; leave out ':{preset}'")
    if preset not in part_class.presets:
        raise PolicyError(unknown_name(f"preset of {part_class.name}", preset, part_class.presets))
    return part_class.presets[preset]


def _options(part_class: type[Part], arguments: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for argument in _split(arguments, ",") if arguments.strip() else ():
        key, equals, value = (part.strip() for part in argument.partition("="))
        if not key or not equals or not value:
            raise PolicyError(f"{part_class.name}: cannot read the option {argument!r}; expected option=value")
        if key not in part_class.options():
            raise PolicyError(unknown_name(f"option of {part_class.name}", key, part_class.options()))
        if key in options:
            raise PolicyError(f"{part_class.name}: the option {key} is given twice")
        options[key] = _value(value)
    return options


def _value(text: str) -> Any:
    """Quoted text and sequences as Python reads them; anything else stays text, for the option's own type to read."""
    if text[0] not in "([\"'":
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _budget_tokens(budget: str | int, bytes_per_token: int | None) -> int:
    try:
        amount = parse_budget(budget)
        if amount.unit == "bytes" and bytes_per_token is None:
            raise PolicyError(f"the budget {budget} is in bytes, which means nothing without a model; give tokens")
        return amount.tokens(bytes_per_token or 1)
    except ConfigError as error:
        raise PolicyError(str(error)) from error


def _build(part_class: type[_P], options: dict[str, Any]) -> _P:
    try:
        return part_class(**options)
    except ValidationError as error:
        detail = error.errors()[0]
        reason = re.sub(r", unable to .*", "", detail["msg"])
        if not detail["loc"]:
            message = reason.removeprefix("Value error, ")
        else:
            option = detail["loc"][0]
            expected = reason.replace("Input should be", "expected").replace("Value error,", "expected")
            message = f"option {option} is {options.get(str(option))!r}, {expected}"
        raise PolicyError(f"{part_class.name}: {message}") from error
