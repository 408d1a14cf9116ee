"""RVS-Ego: open questions during ten egocentric videos of an hour each, from VStream-QA.

Files: the list of videos that ReKV's authors published. Official scoring is `video_qa/eval/eval_open_ended.py` of
their repository, whose judge has been withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.item import Gold, Item
from hermes_stream.evals.open_task import OpenTask, part_of

_KNOWN = ("video_id", "video_path", "conversations", "question", "answer", "start_time", "end_time")
_ARRAY_RATE = 1.0


class RvsEgo(OpenTask):
    """See the module. An item's `about` is what the question concerns; its end is when it is asked."""

    name: ClassVar[str] = "rvs_ego"
    title: ClassVar[str] = "RVS-Ego"
    hub_id: ClassVar[str | None] = "Becomebright/RVS"
    licence: ClassVar[str] = "CC BY-NC 4.0, and the licence of Ego4D"
    files: ClassVar[str] = "ego/ego4d_oe.json, and its videos in ego/videos/"
    folder: ClassVar[str] = "ego"
    file: ClassVar[str] = "ego4d_oe.json"

    def read(self, annotations: Annotations) -> Iterable[Item]:
        (path,) = annotations.find(
            *(
                f"{parent}{self.file}"
                for parent in (f"{self.folder}/", f"rvs/{self.folder}/", f"data/rvs/{self.folder}/", "")
            )
        )
        for item in annotations.make(annotations.records(path), lambda video: self._items(annotations, video)):
            if item.split in self.wanted_splits:
                yield item

    def _items(self, annotations: Annotations, video: Record) -> Iterable[Item]:
        place = annotations.video(*self._places(video.text("video_path")))
        questions = video.records("conversations")
        qids = {record.index: f"{video.text('video_id')}/{number}" for number, record in enumerate(questions)}
        yield from annotations.make(questions, lambda record: [self._item(video, record, place, qids[record.index])])

    def _item(self, video: Record, record: Record, place: str, qid: str) -> Item:
        start, end = record.number("start_time"), record.number("end_time")
        if not 0 <= start <= end:
            raise record.malformed(f"has the times {start:g} to {end:g}; expected the later one last")
        answer = record.text("answer")
        return Item(
            bench=self.name,
            split=part_of(answer),
            qid=qid,
            video=place,
            task=part_of(answer),
            question=record.text("question"),
            gold=Gold("text", answer),
            ask_seconds=end,
            clip=self.clip_before(end),
            frame_rate=_ARRAY_RATE if place.endswith(".npy") else None,
            about=(start, end),
            meta={**video.rest(*_KNOWN), **record.rest(*_KNOWN)},
        )

    def _places(self, path: str) -> list[str]:
        """Published paths begin above the data folder: any of their ends may do."""
        parts = path.removeprefix("./").split("/")
        ends = ["/".join(parts[first:]) for first in range(len(parts))]
        return [f"{self.folder}/videos/{parts[-1]}", *ends, f"videos/{parts[-1]}", f"{self.folder}/{parts[-1]}"]
