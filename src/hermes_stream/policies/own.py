"""Policies of one's own, from a Python file, under their names."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from hermes_stream.errors import PolicyError
from hermes_stream.policies import POLICIES, WRAPPERS
from hermes_stream.policies.base import Policy
from hermes_stream.policies.front_ends import FRONT_ENDS


def register_file(path: str | Path) -> list[str]:
    """Run a file and register every policy that it defines; returns their names.

    Its classes are those of a module named like the file. Raises PolicyError for a file that cannot be run or defines
    no policy, and for a policy without a name, or whose name is taken.
    """
    path = Path(path)
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PolicyError(f"{path} is no Python file; give one that defines a policy, as in docs/policies.md")
    module = module_from_spec(spec)
    # Annotations of the file's classes are looked up here.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PolicyError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Policy) and value.__module__ == spec.name
    ]
    if not found:
        raise PolicyError(f"{path} defines no policy; expected a subclass of Policy")
    for policy_class in found:
        if not hasattr(policy_class, "name"):
            raise PolicyError(
                f'{path}: {policy_class.__name__} has no name; give it one, as name: ClassVar[str] = "mine"'
            )
        if policy_class.name in {*POLICIES, *FRONT_ENDS, *WRAPPERS}:
            raise PolicyError(f"{path}: the name {policy_class.name!r} is taken; choose another")
    POLICIES.update({policy_class.name: policy_class for policy_class in found})
    return [policy_class.name for policy_class in found]
