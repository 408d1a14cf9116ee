"""A small byte-level BPE tokenizer, trained in the process on the language of ShapeStream."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from hermes_stream.models.llava_onevision import PROMPTS
from hermes_stream.policies.hermes_prompts import global_prompt, local_prompt, mixed_prompt
from hermes_stream.shapestream.questions import TASKS, question_at
from hermes_stream.shapestream.script import COLORS, ROOMS, SHAPES, SLOTS, TRAINING_SEEDS, Dice, make_script
from hermes_stream.shapestream.viewpoint import Viewpoint
from hermes_stream.types import Turn

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
IMAGE = "<image>"
VIDEO = "<video>"

_LARGEST_VOCABULARY = 1000
# How Qwen2 splits text into words; digits stand alone.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer in which every word of ShapeStream is one token and every other string falls back to bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_LARGEST_VOCABULARY,
        special_tokens=[END_OF_TEXT, IM_START, IM_END, IMAGE, VIDEO],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[IM_START, IM_END, IMAGE, VIDEO],
        clean_up_tokenization_spaces=False,
    )


def _corpus() -> list[str]:
    names = [*COLORS, *SHAPES, *ROOMS, *SLOTS, *(str(digit) for digit in range(10))]
    turn = Turn("Which object?", "red square")
    guidance = [prompt(past) for prompt in (local_prompt, global_prompt, mixed_prompt) for past in (None, turn)]
    lines = [PROMPTS.prefix, PROMPTS.question, *guidance, *names, *(f"a {name}, in the" for name in names)]
    dice = Dice(0)
    for seed in TRAINING_SEEDS[:40]:
        script = make_script(seed, 60.0)
        for second in range(2, 60):
            view = Viewpoint(script, float(second), fps=1.0)
            drafts = [question_at(view, task, dice) for task in TASKS]
            lines += [text for q in drafts if q is not None for text in (q.question, q.answer)]
    return lines
