"""Everything that can go wrong, in our own words.

HermesError
├── UsageError       the caller asked for something that cannot be (command line: exit status 2)
│   ├── ConfigError      an option has a value that it cannot have
│   ├── SourceError      a video cannot be opened or read
│   ├── ModelError       a checkpoint cannot be loaded, or its family is not supported
│   ├── PolicyError      a memory policy is unknown or cannot work as configured
│   ├── TaskError        a benchmark's files, or its judge, cannot be used as they are
│   ├── SealError        sealed bytes cannot be opened: another key, or damage
│   └── SnapshotError    a snapshot cannot be written or read, or is of another model
├── PlanError        a policy returned a plan that its memory cannot execute
├── InvariantError   an invariant of the memory does not hold: a bug in this package
├── LimitError       a question, chunk or session does not fit the model's positions or the memory there is
│   └── ContextError     a question is longer than the positions that are left for it
├── RankError        one of the processes that share a model has ended, and so the model has
├── StoreError       a store that servers share cannot be read or written now
├── LeaseLost        another server owns the session by now
├── SessionError     a session's numbers are not finite any more; its memory can still be saved
└── SessionClosed    the session or engine was closed, or the answer cancelled
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HermesError(Exception):
    """Base of all errors raised on purpose by this package."""


class UsageError(HermesError):
    """Wrong input; the message is one line that says what to do."""


class ConfigError(UsageError):
    """An option has a value that it cannot have."""


class SourceError(UsageError):
    """A video cannot be opened or read."""


class ModelError(UsageError):
    """A checkpoint cannot be loaded, or its family is not supported."""


class PolicyError(UsageError):
    """A memory policy is unknown or cannot work as configured."""


class TaskError(UsageError):
    """A benchmark's files, or its judge, cannot be used as they are."""


class SealError(UsageError):
    """Sealed bytes cannot be opened: they are not sealed, were sealed with another key, or are damaged."""


class SnapshotError(UsageError):
    """A snapshot cannot be written or read, or does not fit the model."""


class PlanError(HermesError):
    """A policy returned a plan that its memory cannot execute."""


class InvariantError(HermesError):
    """An invariant of the memory does not hold: a bug in this package, please report it."""


class LimitError(HermesError):
    """A question, a chunk or a session does not fit the positions that the model knows, or the memory that is left."""


class ContextError(LimitError):
    """A question is longer than the positions that are left for it."""


class RankError(HermesError):
    """One of the processes that share a model has ended; nothing can be done with the others."""


class StoreError(HermesError):
    """A store that several servers share cannot be read or written now."""


class LeaseLost(HermesError):
    """Another server owns the session by now."""


class SessionError(HermesError):
    """A session was stopped because its numbers are not finite any more; its memory can still be saved."""


class SessionClosed(HermesError):
    """The session or its engine was closed while work was waiting."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that does not exist, with the nearest ones that do."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return f"unknown {kind} {name!r}; {hint}"
