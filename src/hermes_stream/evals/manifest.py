"""What a result must say of itself, in a file beside it; results are joined and continued only where it agrees."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hermes_stream.bench.machine import Machine
from hermes_stream.errors import ConfigError
from hermes_stream.evals.lineup import Lineup
from hermes_stream.evals.reply_log import Shard
from hermes_stream.evals.task import Loaded, Task

_Json = dict[str, Any]
_FORMAT = 1
# What two runs into one folder must share; all else is a list that grows.
_SHARED = ("format", "bench", "annotation_sha256", "setting", "model", "video", "prompt", "wall_clock")


def describe_run(
    lineup: Lineup,
    task: Task,
    loaded: Loaded,
    data: Path | None,
    *,
    identity: Mapping[str, str | None],
    max_pixels: int | None = None,
    wants_logits: bool = False,
    wall_clock: Mapping[str, Any] | None = None,
) -> _Json:
    """Everything that is known before the first frame.

    data: the folder as it was named. identity: of the weights. wall_clock: how frames come, where by the clock.
    """
    return {
        "format": _FORMAT,
        "bench": task.name,
        "annotation_sha256": loaded.annotation_sha256,
        "data": None if data is None else str(data.resolve()),
        "setting": _setting(task, wants_logits=wants_logits),
        "model": _model(lineup, identity),
        "video": _video(lineup, max_pixels),
        "prompt": {"label": task.prompt_label, "sha256": _prompt_sha256(task, loaded)},
        "wall_clock": None if wall_clock is None else dict(wall_clock),
        "entries": {str(entry): _entry(lineup, entry) for entry in lineup.entries},
        "problems": [asdict(problem) for problem in loaded.problems],
    }


def _setting(task: Task, *, wants_logits: bool) -> _Json:
    setting = task.setting
    return {
        "protocol": setting.protocol,
        "splits": list(task.wanted_splits),
        "seed": setting.seed,
        "max_new_tokens": setting.max_new_tokens,
        "context_seconds": setting.context_seconds,
        "repetition_penalty": setting.repetition_penalty,
        "decoding": "greedy",
        "logits": wants_logits,
    }


def _model(lineup: Lineup, identity: Mapping[str, str | None]) -> _Json:
    facts = lineup.engine.model
    return {
        "name": facts.name,
        **identity,
        "family": facts.family,
        "dtype": str(facts.dtype).removeprefix("torch."),
        "quantization": facts.quantization,
        "n_parameters": facts.n_parameters,
    }


def _video(lineup: Lineup, max_pixels: int | None) -> _Json:
    facts = lineup.engine.model
    return {
        "fps": lineup.fps,
        "sampling": "by presentation time",
        "max_pixels": max_pixels,
        "tokens_per_grid": facts.tokens_per_frame,
        "frames_per_grid": facts.frames_per_grid,
        "chunk_frames": lineup.engine.defaults.chunk_frames,
    }


def _entry(lineup: Lineup, entry: Any) -> _Json:
    return {**asdict(entry), **lineup.budgets[entry]}


def _prompt_sha256(task: Task, loaded: Loaded) -> str:
    """Of all prompts in their order, dialogues without what was said before."""
    found = hashlib.sha256()
    for item in loaded.items:
        for ask in task.polls(item):
            query = task.prompt(item, ask, ())
            found.update(json.dumps([ask.key, query.prompt, query.answer_start]).encode())
    return found.hexdigest()


def begin_run(folder: Path, shard: Shard, described: _Json) -> _Json:
    """Write the manifest, or take up the one that is there: entries are added, and this start is listed.

    Raises ConfigError, naming the first difference, where the folder holds a result of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for other in read_manifests(folder):
        check_shared(folder, other, described)
    path = folder / f"manifest{shard.suffix}.json"
    before = _read(path) if path.exists() else {}
    runs = [*before.get("runs", []), {"started": _now(), "machine": Machine.here().as_row()}]
    manifest = described | {"entries": before.get("entries", {}) | described["entries"], "runs": runs}
    _write(path, manifest)
    return manifest


def end_run(folder: Path, shard: Shard, manifest: _Json, began_seconds: float) -> None:
    """Note that this start came to its end, and how long it took. began_seconds: of `time.monotonic`."""
    manifest["runs"][-1] |= {"ended": _now(), "wall_seconds": round(time.monotonic() - began_seconds, 3)}
    _write(folder / f"manifest{shard.suffix}.json", manifest)


def read_manifests(folder: Path) -> list[_Json]:
    """One for each process that wrote into a folder. Raises ConfigError for a file that is none."""
    return [_read(path) for path in sorted(folder.glob("manifest*.json"))]


def check_shared(folder: Path, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first thing in which two runs differ though they must not."""
    for name in _SHARED:
        if one.get(name) != other.get(name):
            found, wanted = _differing(one.get(name), other.get(name))
            raise ConfigError(
                f"{folder} holds a result with {name} {found}, and this run has {wanted}; give another --out"
            )


def same_result(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs may stand in one table and be paired."""
    return all(one.get(name) == other.get(name) for name in _SHARED)


def _differing(one: Any, other: Any) -> tuple[Any, Any]:
    """Of two mappings what differs, else both."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one, other
    names = [name for name in one | other if one.get(name) != other.get(name)]
    return {name: one.get(name) for name in names}, {name: other.get(name) for name in names}


def _read(path: Path) -> _Json:
    try:
        content: _Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable as a manifest ({error}); give another folder") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ConfigError(f"{path} is no manifest of this version; give a folder that hermes-stream eval --out wrote")
    return content


def _write(path: Path, content: _Json) -> None:
    """Whole or not at all."""
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def merged_entries(manifests: Sequence[_Json]) -> dict[str, _Json]:
    """The entries of all of them, by name."""
    return {name: entry for manifest in manifests for name, entry in manifest["entries"].items()}
