"""The published instruction to a speaker, read from the user's own copy of the repository."""

from __future__ import annotations

import re
from pathlib import Path

from hermes_stream.errors import TaskError
from hermes_stream.evals.wording import official_text

_FILE = "streaming_vlm/eval/model_compete/generate.sh"
_QUERY = re.compile(r'^QUERY="([^"]*)"', re.MULTILINE)


def published_instruction(folder: Path) -> str:
    """The last of those that the script sets. Raises TaskError where the folder is no copy."""
    found = _QUERY.findall(official_text(folder, _FILE))
    if not found:
        raise TaskError(f"{folder / _FILE} sets no QUERY; --prompts needs the repository as it was published")
    return str(found[-1])
