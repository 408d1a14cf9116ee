"""The exact token layout that the tiny models are trained on, which is the engine's own.

`PREFIX`, then the tokens of all frames without separators, then for a question a tail of its own: the model's
`image_newline`, `QUESTION` with the question's text, the answer, and the end-of-turn token. A guidance prompt of HERMES
is also trained bare, right behind the frames, as the engine sends it: its attention decides what a memory keeps.
"""

from hermes_stream.models.llava_onevision import PROMPTS
from hermes_stream.policies.base import Turn
from hermes_stream.policies.hermes_prompts import global_prompt, local_prompt, mixed_prompt

__all__ = ["PREFIX", "QUESTION", "Turn", "global_prompt", "local_prompt", "mixed_prompt"]

PREFIX = PROMPTS.prefix
QUESTION = PROMPTS.question
