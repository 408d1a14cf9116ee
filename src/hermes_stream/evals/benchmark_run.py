"""A benchmark from its folder to its replies: videos one by one, all memories side by side, each answer a line."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hermes_stream.engine.session import Session
from hermes_stream.errors import LimitError, SourceError, TaskError
from hermes_stream.evals.asking import Asker, Given, error_reply
from hermes_stream.evals.item import Ask, Item, Reply
from hermes_stream.evals.lineup import Entry, Lineup
from hermes_stream.evals.one_pass import Clip, OnePass, clips_of
from hermes_stream.evals.reply_log import Held, ReplyLog, Shard, reply_line
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.evals.task import Loaded, Task
from hermes_stream.types import Answer

_N_NAMED = 5


class Listener(Protocol):
    """Who wants to know how a run goes on."""

    def answered(self, n: int) -> None:
        """So many more replies are written."""

    def failed(self, who: str, video: str, reason: str) -> None:
        """An entry fell out of a video, or with an empty name the video could not be watched."""


@dataclass(frozen=True)
class BenchmarkRun:
    """One process's share of a benchmark on one model. data: the folder, as `Task.load` got it.

    known: what an earlier start answered, by entry's name and key. Videos that are missing are passed over.
    """

    lineup: Lineup
    task: Task
    loaded: Loaded
    data: Path
    known: Mapping[str, Mapping[str, Reply]]
    shard: Shard
    wants_logits: bool = False

    @property
    def videos(self) -> dict[str, list[Item]]:
        """The items of each video that is there and this shard's, in the order of the benchmark."""
        by_video: dict[str, list[Item]] = {}
        for item in self.loaded.items:
            by_video.setdefault(item.video, []).append(item)
        mine = [video for index, video in enumerate(by_video) if self.shard.has(index)]
        return {video: by_video[video] for video in mine if video not in self.loaded.missing_videos}

    @property
    def n_left(self) -> int:
        """Replies that are still to come, what follows a reply apart."""
        asks = [ask.key for items in self.videos.values() for item in items for ask in self.task.polls(item)]
        return sum(key not in self._known(entry) for entry in self.lineup.entries for key in asks)

    def run(self, log: ReplyLog, listener: Listener) -> None:
        """Watch what is left and write each reply as it comes."""
        for video, items in self.videos.items():
            entries = [entry for entry in self.lineup.entries if not self._is_answered(entry, items)]
            if entries:
                self._watch(video, items, entries, log, listener)

    def _known(self, entry: Entry) -> Mapping[str, Reply]:
        return self.known.get(str(entry), {})

    def _is_answered(self, entry: Entry, items: Sequence[Item]) -> bool:
        """Whether every question has a reply, and what follows it too."""
        known = self._known(entry)
        for item in items:
            for first in self.task.polls(item):
                ask: Ask | None = first
                while ask is not None:
                    if ask.key not in known:
                        return False
                    ask = self.task.follow_up(item, ask, known[ask.key])
        return True

    def _watch(
        self, video: str, items: Sequence[Item], entries: Sequence[Entry], log: ReplyLog, listener: Listener
    ) -> None:
        """A video that cannot be opened or read is an error of each question that it leaves open."""
        began = time.monotonic()
        clips, written = clips_of(self.task, items), set[tuple[Entry, str]]()
        try:
            with self.task.video_file(self.data, video) as path:
                for clip in clips:
                    for answers in self._pass_over(path, video, clip, entries, listener):
                        self._write(answers, written, log, listener)
        except SourceError as error:
            listener.failed("", video, str(error))
            self._write(self._lost(clips, entries, written, error), written, log, listener)
        took = {"seconds": round(time.monotonic() - began, 3), "entries": [*map(str, entries)]}
        log.put([{"watched": video, **took, **self._notes()}])
        log.sync()

    def _notes(self) -> dict[str, Any]:
        """What else is known of the video that was just watched."""
        return {}

    def _line(self, entry: Entry, given: Given) -> dict[str, Any]:
        return reply_line(str(entry), given.reply, _held(given.answer))

    def _pass_over(
        self, path: Path, video: str, clip: Clip, entries: Sequence[Entry], listener: Listener
    ) -> Iterator[list[tuple[Entry, Given]]]:
        with ExitStack() as stack:
            frames = stack.enter_context(clip.open(path, self.lineup.fps))
            sessions, refused = self._open(video, entries, stack)
            for entry, error in refused.items():
                listener.failed(str(entry), video, str(error))
                yield self._lost([clip], [entry], set(), error)
            askers = {
                entry: Asker(session, self.task, self._known(entry), wants_logits=self.wants_logits)
                for entry, session in sessions.items()
            }
            side, chunk_frames = SideBySide(sessions), self.lineup.engine.defaults.chunk_frames
            yield from OnePass(side, askers, batch_frames=chunk_frames, fps=self.lineup.fps).run(frames, clip)
            for entry, failure in side.failed.items():
                listener.failed(str(entry), video, str(failure))
            if frames.early_end:
                listener.failed("", video, f"{frames.early_end}; what comes later was asked of what there is")

    def _seed(self, video: str) -> int:
        """So that the luck of policies that draw differs between videos."""
        return self.task.setting.seed + zlib.crc32(video.encode())

    def _open(
        self, video: str, entries: Sequence[Entry], stack: ExitStack
    ) -> tuple[dict[Entry, Session], dict[Entry, LimitError]]:
        """A session for each entry, or why there is no room for it."""
        sessions, refused = dict[Entry, Session](), dict[Entry, LimitError]()
        for entry in entries:
            try:
                sessions[entry] = stack.enter_context(entry.open(self.lineup.engine, seed=self._seed(video)))
            except LimitError as error:
                refused[entry] = error
        return sessions, refused

    def _lost(
        self, clips: Sequence[Clip], entries: Sequence[Entry], written: set[tuple[Entry, str]], error: Exception
    ) -> list[tuple[Entry, Given]]:
        dues = [due for clip in clips for due in clip.dues]
        return [
            (entry, Given(due.item, due.ask, error_reply(due, error)))
            for entry in entries
            for due in dues
            if due.ask.key not in self._known(entry) and (entry, due.ask.key) not in written
        ]

    def _write(
        self,
        answers: Sequence[tuple[Entry, Given]],
        written: set[tuple[Entry, str]],
        log: ReplyLog,
        listener: Listener,
    ) -> None:
        new = [(entry, given) for entry, given in answers if given.is_new]
        log.put(self._line(entry, given) for entry, given in new)
        written.update((entry, given.ask.key) for entry, given in new)
        listener.answered(len(new))


def check_videos(loaded: Loaded, data: Path, *, skips_missing: bool) -> None:
    """Raise TaskError, naming them, where videos are missing and the run may not go on without them."""
    missing = sorted(loaded.missing_videos)
    n_videos = len({item.video for item in loaded.items})
    if len(missing) == n_videos:
        raise TaskError(f"{data} holds none of the {n_videos} videos, as {missing[0]}; download them into it")
    if missing and not skips_missing:
        named = ", ".join(missing[:_N_NAMED]) + (
            f" and {len(missing) - _N_NAMED} more" if len(missing) > _N_NAMED else ""
        )
        raise TaskError(
            f"{data} lacks {len(missing)} of {n_videos} videos: {named}; download them, or go on without them by "
            "--skip-missing"
        )


def _held(answer: Answer | None) -> Held | None:
    return None if answer is None else Held(answer.held_tokens, answer.memory_bytes, answer.archive_bytes)
