"""ShapeStream clips as clients send them, with questions that the bundled model answers right at their end."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache

from PIL import Image

from hermes_stream.shapestream import make_script, render_frame, write_episode
from hermes_stream.shapestream.questions import question_at
from hermes_stream.shapestream.script import Dice, Script
from hermes_stream.shapestream.viewpoint import Viewpoint

SECONDS = 12
_TASKS = ("object", "color", "shape", "size", "room", "is_shape", "first")


@dataclass(frozen=True)
class Clip:
    """A video and what is true at its last second. truths: questions and their answers."""

    script: Script
    mp4: bytes
    truths: dict[str, str]

    @property
    def data_uri(self) -> str:
        return "data:video/mp4;base64," + base64.b64encode(self.mp4).decode()

    @property
    def picture_uris(self) -> list[str]:
        """A PNG of each second."""
        return [picture_uri(self.script, second) for second in range(SECONDS)]


@cache
def clip(seed: int = 900_304) -> Clip:
    script, file = make_script(seed, SECONDS), io.BytesIO()
    write_episode(script, file, fps=8, width=320, height=180)
    view = Viewpoint(script, SECONDS - 1.0, 1.0)
    found = [question_at(view, task, Dice(1)) for task in _TASKS]
    return Clip(script, file.getvalue(), {each.question: each.answer for each in found if each is not None})


def picture_uri(script: Script, seconds: float) -> str:
    """One moment of a script as a PNG."""
    file = io.BytesIO()
    Image.fromarray(render_frame(script, seconds, 320, 180)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
