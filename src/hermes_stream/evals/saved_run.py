"""A result read again: folders that `eval BENCHMARK --out` wrote, joined where they are of one kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_stream.bench.timing import percentile_ms
from hermes_stream.errors import ConfigError, TaskError
from hermes_stream.evals.item import Item, Reply
from hermes_stream.evals.judge import Judge
from hermes_stream.evals.manifest import merged_entries, read_manifests, same_result
from hermes_stream.evals.reply_log import Held, Replies, read_replies
from hermes_stream.evals.scores import Mode
from hermes_stream.evals.task import Setting, Task
from hermes_stream.evals.tasks import find_task

_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ByClock:
    """What a run by the clock tells of an entry.

    ttft: with frames coming. n_dropped: of the frames that came. lag_seconds: the largest at the end of a video.
    sustained_fps: None where it was not looked for.
    """

    ttft_ms_p50: float | None
    ttft_ms_p95: float | None
    n_offered: int
    n_dropped: int
    lag_seconds: float
    sustained_fps: float | None


@dataclass(frozen=True)
class SavedEntry:
    """A memory and what it said. settings: its line in the manifest."""

    name: str
    settings: _Json
    replies: Mapping[str, Reply]
    held: Held | None
    by_clock: ByClock | None = None


@dataclass(frozen=True)
class SavedRun:
    """One benchmark on one model. items: those that every entry was asked. n_items: of the whole benchmark.

    n_missing: items whose video was not there. unfinished: entries that were asked nothing so far.
    """

    manifest: _Json
    task: Task
    items: tuple[Item, ...]
    entries: tuple[SavedEntry, ...]
    n_items: int
    n_missing: int
    unfinished: tuple[str, ...]

    @property
    def model(self) -> str:
        return str(self.manifest["model"]["name"])

    @property
    def modes(self) -> tuple[Mode, ...]:
        """In which these replies can be read."""
        has_logits = any(reply.probabilities for entry in self.entries for reply in entry.replies.values())
        return tuple(mode for mode in self.task.modes if mode != "logits" or has_logits)


def read_runs(folders: Sequence[Path], data: Path | None = None, judge: Judge | None = None) -> list[SavedRun]:
    """One for each benchmark, model and setting, in the order in which they first come.

    data: where the benchmark lies now, if it has moved. Raises ConfigError for folders without a result, TaskError
    where the benchmark is not the one that was asked.
    """
    groups: list[tuple[list[_Json], Replies]] = []
    for folder in folders:
        manifests = read_manifests(folder) if folder.is_dir() else []
        if not manifests:
            raise ConfigError(f"{folder} holds no result; give a folder that hermes-stream eval BENCHMARK --out wrote")
        found = next((group for group in groups if same_result(group[0][0], manifests[0])), None)
        if found is None:
            groups.append((manifests, read_replies(folder)))
        else:
            found[0].extend(manifests)
            found[1].join(read_replies(folder))
    return [_saved(manifests, replies, data, judge) for manifests, replies in groups]


def _saved(manifests: Sequence[_Json], replies: Replies, data: Path | None, judge: Judge | None) -> SavedRun:
    manifest = manifests[0]
    task = _task(manifest, judge)
    loaded = task.load(_data(manifest, task, data))
    if loaded.annotation_sha256 != manifest["annotation_sha256"]:
        raise TaskError(
            f"{task.name}: the annotations are others than those that were asked (sha256 "
            f"{loaded.annotation_sha256[:12]}, then {manifest['annotation_sha256'][:12]}); name the same with --data"
        )
    named = merged_entries(manifests)
    entries = [
        SavedEntry(
            name,
            settings,
            replies.by_entry.get(name, {}),
            replies.held.get(name),
            None if manifest["wall_clock"] is None else _by_clock(name, replies),
        )
        for name, settings in named.items()
    ]
    begun = [entry for entry in entries if entry.replies]
    items = tuple(_asked_of_all(task, loaded.items, begun))
    if not items:
        raise ConfigError(
            f"{task.name} on {manifest['model']['name']}: no video is finished yet; let the run get further"
        )
    return SavedRun(
        manifest,
        task,
        items,
        tuple(begun),
        len(loaded.items),
        sum(item.video in loaded.missing_videos for item in loaded.items),
        tuple(entry.name for entry in entries if not entry.replies),
    )


def _by_clock(name: str, replies: Replies) -> ByClock:
    ttft = replies.ttft_seconds.get(name, [])
    came = [line["arrivals"][name] for line in replies.watched if name in line.get("arrivals", {})]
    p50, p95 = (percentile_ms(ttft, percent) if ttft else None for percent in (50, 95))
    return ByClock(
        p50,
        p95,
        sum(each["n_offered"] for each in came),
        sum(each["n_dropped"] for each in came),
        max((each["lag_seconds"] for each in came), default=0.0),
        replies.sustained_fps.get(name),
    )


def _task(manifest: _Json, judge: Judge | None) -> Task:
    """The benchmark as it was asked."""
    setting = manifest["setting"]
    task = find_task(manifest["bench"])(
        Setting(
            protocol=setting["protocol"],
            splits=tuple(setting["splits"]),
            seed=setting["seed"],
            context_seconds=setting["context_seconds"],
        ),
        judge,
    )
    task.sample_at(manifest["video"]["fps"])
    return task


def _data(manifest: _Json, task: Task, data: Path | None) -> Path:
    if data is None and manifest["data"] is not None:
        data = Path(manifest["data"])
    if task.needs_data and (data is None or not data.is_dir()):
        raise ConfigError(f"{task.name} was read from {data}, which is not there; say with --data where it is now")
    return data or Path()


def _asked_of_all(task: Task, items: Sequence[Item], entries: Sequence[SavedEntry]) -> Iterable[Item]:
    """The items of videos of which every entry has every reply: whoever is compared was asked the same."""
    open_videos = {
        item.video
        for item in items
        for ask in task.polls(item)
        if any(ask.key not in entry.replies for entry in entries)
    }
    return (item for item in items if item.video not in open_videos)
