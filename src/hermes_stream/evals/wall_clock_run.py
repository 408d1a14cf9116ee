"""A benchmark by the clock: each memory in turn, alone with the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from hermes_stream.errors import HermesError
from hermes_stream.evals.asking import Given
from hermes_stream.evals.benchmark_run import BenchmarkRun, Listener
from hermes_stream.evals.lineup import Entry
from hermes_stream.evals.one_pass import Clip, clips_of
from hermes_stream.evals.reply_log import ReplyLog
from hermes_stream.evals.wall_clock import Arrivals, WallClock, highest_fps

# Pictures that are shown over and over to find the highest rate; a memory has watched them once before.
_N_PICTURES = 64


@dataclass(frozen=True, kw_only=True)
class WallClockRun(BenchmarkRun):
    """speed: of the clock, 2 shows a video in half its time.

    Lines of replies have `ttft_s`, the time to the first token while frames come; those of videos `arrivals` of each
    entry, summed over its clips.
    """

    speed: float = 1.0
    _arrivals: dict[Entry, list[Arrivals]] = field(default_factory=dict)

    def find_highest_rates(self, log: ReplyLog, listener: Listener, done: Sequence[str]) -> None:
        """Of each entry, on the pictures of the first video, as `sustained_fps`. done: entries of which it is known."""
        for video, items in islice(self.videos.items(), 1):
            with self.task.video_file(self.data, video) as path:
                for entry in self.lineup.entries:
                    if str(entry) not in done:
                        self._find_rate(path, clips_of(self.task, items)[0], entry, log, listener)

    def _find_rate(self, path: Path, clip: Clip, entry: Entry, log: ReplyLog, listener: Listener) -> None:
        try:
            with clip.open(path, self.lineup.fps) as video, entry.open(self.lineup.engine) as session:
                frames = list(islice(video, _N_PICTURES))
                session.watch(frames)
                fps = highest_fps(session, [frame.image_YXC for frame in frames], 1 / self.lineup.fps)
        except HermesError as error:
            listener.failed(str(entry), "the highest rate", str(error))
            return
        log.put([{"entry": str(entry), "sustained_fps": fps}])

    def _notes(self) -> dict[str, Any]:
        notes = {str(entry): _sum(of_clips) for entry, of_clips in self._arrivals.items()}
        self._arrivals.clear()
        return {"arrivals": notes}

    def _line(self, entry: Entry, given: Given) -> dict[str, Any]:
        line = super()._line(entry, given)
        return line if given.answer is None else line | {"ttft_s": round(given.answer.ttft_seconds, 6)}

    def _pass_over(
        self, path: Path, video: str, clip: Clip, entries: Sequence[Entry], listener: Listener
    ) -> Iterator[list[tuple[Entry, Given]]]:
        for entry in entries:
            keys = set[str]()
            try:
                for given in self._watch_alone(path, video, clip, entry):
                    keys.update(one.ask.key for one in given)
                    yield [(entry, one) for one in given]
            except HermesError as error:
                listener.failed(str(entry), video, str(error))
                yield self._lost([clip], [entry], {(entry, key) for key in keys}, error)

    def _watch_alone(self, path: Path, video: str, clip: Clip, entry: Entry) -> Iterator[list[Given]]:
        with ExitStack() as stack:
            frames = stack.enter_context(clip.open(path, self.lineup.fps))
            session = stack.enter_context(entry.open(self.lineup.engine, seed=self._seed(video)))
            by_clock = WallClock(
                session,
                self.task,
                self._known(entry),
                fps=self.lineup.fps,
                speed=self.speed,
                wants_logits=self.wants_logits,
            )
            yield from by_clock.run(frames, clip)
            self._arrivals.setdefault(entry, []).append(by_clock.arrivals)


def _sum(arrivals: Sequence[Arrivals]) -> dict[str, Any]:
    """The lag is the largest."""
    return asdict(
        Arrivals(
            sum(each.n_offered for each in arrivals),
            sum(each.n_dropped for each in arrivals),
            max(each.lag_seconds for each in arrivals),
        )
    )
