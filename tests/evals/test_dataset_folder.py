"""A benchmark's files may be named by folder, or by their hub id; the hub itself is never asked here."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from hermes_stream.errors import TaskError
from hermes_stream.evals.dataset_folder import dataset_folder
from hermes_stream.evals.tasks import find_task
from tests.evals.published import PutVideo, published

_REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub as it is on the disk, offline."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_dataset_that_was_fetched_is_read_where_it_lies(cache: Path, put_video: PutVideo) -> None:
    dataset = cache / "datasets--lmms-lab--Video-MME"
    folder = dataset / "snapshots" / _REVISION
    folder.mkdir(parents=True)
    (dataset / "refs").mkdir()
    (dataset / "refs" / "main").write_text(_REVISION)
    published("videomme").write(folder, put_video)
    task = find_task("videomme")()
    assert task.hub_id is not None
    found = dataset_folder(Path(task.hub_id))
    assert found.samefile(folder)
    assert len(task.load(found).items) == 9


def test_a_folder_here_comes_first() -> None:
    Path("owner/name").mkdir(parents=True)
    assert dataset_folder(Path("owner/name")) == Path("owner/name")


@pytest.mark.parametrize("path", ["nowhere", "/nowhere", "/nowhere/x", "../x", "a/b/c"])
def test_what_is_no_hub_id_is_a_folder_that_is_missing(path: str) -> None:
    assert dataset_folder(Path(path)) == Path(path)


def test_one_that_cannot_be_fetched_says_so_in_one_line() -> None:
    with pytest.raises(TaskError, match="owner/name: no such folder, and no dataset that can be fetched") as raised:
        dataset_folder(Path("owner/name"))
    assert "\n" not in str(raised.value)
