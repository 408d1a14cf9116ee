"""ShapeStream: an endless synthetic video world with exact ground truth, for training, tests and demonstrations."""

from hermes_stream.shapestream.episode import write_episode
from hermes_stream.shapestream.grade import is_right, normalise_answer
from hermes_stream.shapestream.questions import (
    TASKS,
    Question,
    make_questions,
    question_at,
    questions_to_json,
)
from hermes_stream.shapestream.render import render_frame
from hermes_stream.shapestream.script import (
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    Kind,
    Presence,
    Scene,
    Script,
    make_script,
)
from hermes_stream.shapestream.tasks import UNANSWERABLE
from hermes_stream.shapestream.viewpoint import Viewpoint
from hermes_stream.shapestream.world import LiveWorld

__all__ = [
    "EVALUATION_SEEDS",
    "TASKS",
    "TRAINING_SEEDS",
    "UNANSWERABLE",
    "Kind",
    "LiveWorld",
    "Presence",
    "Question",
    "Scene",
    "Script",
    "Viewpoint",
    "is_right",
    "make_questions",
    "make_script",
    "normalise_answer",
    "question_at",
    "questions_to_json",
    "render_frame",
    "write_episode",
]
