"""Where a benchmark's files are: a folder, or a dataset of the hub that is fetched into its cache."""

from __future__ import annotations

from pathlib import Path

from hermes_stream.errors import TaskError
from hermes_stream.models.checkpoint_files import first_line


def dataset_folder(data: Path) -> Path:
    """The folder itself; for a hub id owner/name that is no folder here, the newest snapshot of that dataset.

    What lies in archives on the hub is fetched as it is: unpack it. Raises TaskError where it cannot be fetched.
    """
    is_hub_id = len(data.parts) == 2 and data.parts[0] not in ("/", "~", "..")
    if data.exists() or not is_hub_id:
        return data
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(data.as_posix(), repo_type="dataset"))
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise TaskError(f"{data}: no such folder, and no dataset that can be fetched ({reason})") from error
