"""MVBench: 20 tasks of 200 questions about short clips, each asked after its clip.

Files: `json/` and the unpacked `video/` of the hub's data set, in either of its two editions: whole videos, of which a
part is watched, or parts that were cut. Official: `video_chat2/mvbench.ipynb` of the repository OpenGVLab/Ask-Anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from hermes_stream.evals.annotations import VIDEO_ENDINGS, Annotations, Record
from hermes_stream.evals.choice_task import ChoiceTask, letters
from hermes_stream.evals.item import END, Ask, Gold, Item, Reply
from hermes_stream.evals.option_texts import bracketed, gold_of_equals, letter_of_text
from hermes_stream.evals.scores import Average, Mode
from hermes_stream.evals.short_ids import short_id
from hermes_stream.evals.wording import call_texts


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the twenty. folder: of its videos. cut: of those that the other edition has cut already; "" for none.

    is_part: whether records say what part of a video is watched.
    """

    title: str
    folder: str
    cut: str = ""
    is_part: bool = False


_CLEVRER, _PERCEPTION = "clevrer/video_validation", "perception/videos"
_CHARADES, _CHARADES_CUT = "star/Charades_v1_480", "star/Charades_segment"
_KINDS = {
    "action_sequence": _Kind("Action Sequence", _CHARADES, _CHARADES_CUT, is_part=True),
    "action_prediction": _Kind("Action Prediction", _CHARADES, _CHARADES_CUT, is_part=True),
    "action_antonym": _Kind("Action Antonym", "ssv2_video", "ssv2_video_mp4"),
    "fine_grained_action": _Kind("Fine-grained Action", "Moments_in_Time_Raw/videos"),
    "unexpected_action": _Kind("Unexpected Action", "FunQA_test/test"),
    "object_existence": _Kind("Object Existence", _CLEVRER),
    "object_interaction": _Kind("Object Interaction", _CHARADES, _CHARADES_CUT, is_part=True),
    "object_shuffle": _Kind("Object Shuffle", _PERCEPTION),
    "moving_direction": _Kind("Moving Direction", _CLEVRER),
    "action_localization": _Kind("Action Localization", "sta/sta_video", "sta/sta_video_segment", is_part=True),
    "scene_transition": _Kind("Scene Transition", "scene_qa/video"),
    "action_count": _Kind("Action Count", _PERCEPTION),
    "moving_count": _Kind("Moving Count", _CLEVRER),
    "moving_attribute": _Kind("Moving Attribute", _CLEVRER),
    "state_change": _Kind("State Change", _PERCEPTION),
    "fine_grained_pose": _Kind("Fine-grained Pose", "nturgbd", "nturgbd_convert"),
    "character_order": _Kind("Character Order", _PERCEPTION),
    "egocentric_navigation": _Kind("Egocentric Navigation", "vlnqa"),
    "episodic_reasoning": _Kind(
        "Episodic Reasoning", "tvqa/frames_fps3_hq", "tvqa/video_fps3_hq_segment", is_part=True
    ),
    "counterfactual_inference": _Kind("Counterfactual Inference", _CLEVRER),
}
_PICTURES_A_SECOND = 3.0
# Where exactly the evidence is: an evaluation's to know.
_EVIDENCE = ("accurate_start", "accurate_end")
_KNOWN = ("video", "question", "candidates", "answer", "start", "end", "fps", *_EVIDENCE)
_ROOTS = ("video", "video/data0613", ".")


class MvBench(ChoiceTask):
    """See the module."""

    name: ClassVar[str] = "mvbench"
    title: ClassVar[str] = "MVBench"
    hub_id: ClassVar[str | None] = "OpenGVLab/MVBench"
    licence: ClassVar[str] = "annotations MIT; videos under the licences of their sources, see the data set's card"
    splits: ClassVar[tuple[str, ...]] = tuple(_KINDS)
    metric: ClassVar[str] = "mean of the 20 tasks"
    files: ClassVar[str] = "json/TASK.json of 20 tasks, and the unpacked videos as video/SOURCE/..."
    averages: ClassVar[tuple[Average, ...]] = (
        Average("average", tuple(kind.title for kind in _KINDS.values()), "even"),
        Average("all questions", tuple(kind.title for kind in _KINDS.values())),
    )

    def read(self, annotations: Annotations) -> Iterable[Item]:
        for split in self.wanted_splits:
            for path in annotations.find(f"json/{split}.json", f"{split}.json"):
                yield from annotations.make(annotations.records(path), partial(self._items, annotations, split))

    def official_letter(self, item: Item, reply: str) -> str | None:
        """The gold one where the script would count the reply: its first word and "(B)" are part of each other.

        The script puts a bracket in front, so that nothing at all, and a full stop, are right for every option.
        """
        first = ("(" + reply.strip().split("\n")[0]).lower().split(" ")[0]
        said = (item.truth, *letters(item))
        return next((each for each in said if _is_part_of_the_other(first, f"({each.lower()})")), None)

    def answer_in(self, item: Item, reply: Reply, mode: Mode) -> str | None:
        answer = super().answer_in(item, reply, mode)
        return answer if mode == "official" else gold_of_equals(item, answer)

    def official_prompt(self, item: Item, ask: Ask) -> str:  # noqa: ARG002
        """What the notebook's last cell but one puts around question and options."""
        assert self.setting.prompts is not None
        texts = call_texts(self.setting.prompts, "video_chat2/mvbench.ipynb", "infer_mvbench")
        return texts.get("system", "") + bracketed(item) + texts.get("question_prompt", "")

    def _items(self, annotations: Annotations, split: str, record: Record) -> Iterable[Item]:
        kind = _KINDS[split]
        options = record.texts("candidates", at_least=2)
        video, question = record.text("video"), record.text("question")
        letter = letter_of_text(annotations, record, options)
        path, is_cut = _place(annotations, kind, video)
        yield Item(
            bench=self.name,
            split=split,
            qid=short_id(split, video, question, *options, record.get("start"), record.get("end")),
            video=path,
            task=kind.title,
            question=question,
            choices=tuple(options),
            gold=Gold("letter", letter, {name: record.get(name) for name in _EVIDENCE if record.has(name)}),
            clip=_part(record) if kind.is_part and not is_cut else (0.0, END),
            frame_rate=None if path.endswith(VIDEO_ENDINGS) else _frame_rate(record),
            meta=record.rest(*_KNOWN),
        )


def _is_part_of_the_other(word: str, option: str) -> bool:
    return word.replace(".", "") in option or option in word


def _place(annotations: Annotations, kind: _Kind, video: str) -> tuple[str, bool]:
    """Where the video is, or should be; and whether it is cut already."""
    folders = [f"{root}/{kind.folder}/{video}".removeprefix("./") for root in _ROOTS]
    cut = [f"{root}/{kind.cut}/{video}".removeprefix("./") for root in _ROOTS] if kind.cut else []
    found = annotations.video(*folders, *cut)
    if not annotations.has_video(found):
        return folders[0], False
    return found, any(found.startswith(each) for each in cut)


def _part(record: Record) -> tuple[float, float]:
    start, end = record.number("start"), record.number("end")
    if not 0 <= start < end:
        raise record.malformed(f"has 'start' = {start:g} and 'end' = {end:g}; expected a part of a video")
    return start, end


def _frame_rate(record: Record) -> float:
    return record.number("fps") if record.has("fps") else _PICTURES_A_SECOND
