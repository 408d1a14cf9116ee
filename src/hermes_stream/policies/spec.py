"""Policies as text: `name[:preset][(key=value, ...)]`, one grammar for command line, files and Python."""

from __future__ import annotations

import ast
import re
from typing import Any

from pydantic import ValidationError

from hermes_stream.errors import ConfigError, PolicyError, unknown_name
from hermes_stream.memory.budget import parse_budget
from hermes_stream.policies import POLICIES
from hermes_stream.policies.base import Policy

_FORM = re.compile(r"([^\s:()]+)\s*(?::\s*([^\s:()]+)\s*)?(?:\((.*)\))?", re.DOTALL)
_EXAMPLE = "expected name, name:preset or name(option=value, ...), as in hermes(reindex=eager)"


def parse_memory(text: str, budget: str | int | None = None, *, bytes_per_token: int | None = None) -> Policy:
    """The policy that a text describes, as in `hermes:released(reindex=eager, budget=256)`.

    budget: for a text that names none; a policy without bounds ignores it. bytes_per_token: of the model, over all
    layers; needed only where a budget is given in bytes.
    Raises PolicyError, in one line, for a name, preset or option that does not exist or a value that cannot be.
    """
    name, preset, arguments = _parts(text)
    if name not in POLICIES:
        raise PolicyError(unknown_name("memory policy", name, POLICIES))
    policy_class = POLICIES[name]
    options = {**_preset(policy_class, preset), **_options(policy_class, arguments)}
    if "budget" in options:
        options["budget"] = _budget_tokens(options["budget"], bytes_per_token)
    policy = _build(policy_class, options)
    if budget is None:
        return policy
    if policy.budget is not None:
        raise PolicyError(f"two budgets: {policy.budget} in {text!r} and {budget} beside it; give one")
    return policy.with_budget(_budget_tokens(budget, bytes_per_token))


def split_policies(text: str) -> list[str]:
    """The policies of a list such as `hermes(budget=256), uniform`: commas inside parentheses do not split."""
    policies = _split(text, ",")
    if "" in policies:
        raise PolicyError(f"an empty entry in the list of memory policies {text!r}")
    return policies


def _parts(text: str) -> tuple[str, str | None, str]:
    """Name, preset and what stands between the parentheses."""
    if len(_split(text, "+|")) > 1:
        raise PolicyError(f"composing policies with + or | is not available yet; give one policy instead of {text!r}")
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise PolicyError(f"cannot read the memory policy {text!r}; {_EXAMPLE}")
    return match[1], match[2], match[3] or ""


def _split(text: str, separators: str) -> list[str]:
    """Split at separators outside brackets; parts are stripped."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            break
        if depth == 0 and character in separators:
            parts.append(text[start:index].strip())
            start = index + 1
    if depth != 0:
        raise PolicyError(f"unbalanced parentheses in the memory policy {text!r}")
    return [*parts, text[start:].strip()]


def _preset(policy_class: type[Policy], preset: str | None) -> dict[str, Any]:
    if preset is None:
        return {}
    if not policy_class.presets:
        raise PolicyError(f"{policy_class.name} has no presets; leave out ':{preset}'")
    if preset not in policy_class.presets:
        raise PolicyError(unknown_name(f"preset of {policy_class.name}", preset, policy_class.presets))
    return policy_class.presets[preset]


def _options(policy_class: type[Policy], arguments: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for argument in _split(arguments, ",") if arguments.strip() else ():
        key, equals, value = (part.strip() for part in argument.partition("="))
        if not key or not equals or not value:
            raise PolicyError(f"{policy_class.name}: cannot read the option {argument!r}; expected option=value")
        if key not in policy_class.model_fields:
            raise PolicyError(unknown_name(f"option of {policy_class.name}", key, policy_class.model_fields))
        if key in options:
            raise PolicyError(f"{policy_class.name}: the option {key} is given twice")
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


def _build(policy_class: type[Policy], options: dict[str, Any]) -> Policy:
    try:
        return policy_class(**options)
    except ValidationError as error:
        detail = error.errors()[0]
        reason = re.sub(r", unable to .*", "", detail["msg"])
        if not detail["loc"]:
            message = reason.removeprefix("Value error, ")
        else:
            option = detail["loc"][0]
            expected = reason.replace("Input should be", "expected").replace("Value error,", "expected")
            message = f"option {option} is {options.get(str(option))!r}, {expected}"
        raise PolicyError(f"{policy_class.name}: {message}") from error
