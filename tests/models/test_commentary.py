"""The strings of a stream with commentary."""

from __future__ import annotations

import pytest
import torch

from hermes_stream.errors import ConfigError
from hermes_stream.models import llava_onevision, qwen2_5_vl, qwen3_vl
from hermes_stream.models.commentary import stand_at

FAMILIES = {
    "llava-onevision": llava_onevision.COMMENTARY,
    "qwen2.5-vl": qwen2_5_vl.COMMENTARY,
    "qwen3-vl": qwen3_vl.COMMENTARY,
}


def test_the_layout_of_qwen2_5_vl_is_that_of_the_source_with_the_instruction_before_all_that_leaves() -> None:
    prompts = qwen2_5_vl.COMMENTARY
    stream = "".join(
        [
            prompts.opening("Commentate."), prompts.previous_open, prompts.spoken("goal"), prompts.previous_close,
            prompts.before_frames(0, 1), "V", prompts.after_frames(),
            prompts.spoken("a"), prompts.spoken("shot"), prompts.silence, prompts.turn_close, prompts.turn_end,
            prompts.before_frames(1, 2), "V", prompts.after_frames("Who?"), prompts.silence, prompts.turn_close,
        ]
    )  # fmt: skip
    assert stream == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nCommentate.<|im_end|>\n"
        "<|im_start|>previous text\n goal<|im_end|>\n"
        "<|im_start|>user\nTime=0.0-1.0s<|vision_start|>V<|vision_end|><|im_end|>\n"
        "<|im_start|>assistant\n a shot ...<|im_end|>\n"
        "<|im_start|>user\nTime=1.0-2.0s<|vision_start|>V<|vision_end|>Who?<|im_end|>\n"
        "<|im_start|>assistant\n ...<|im_end|>"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_instruction_leaves_only_the_system_prompt_and_none_means_the_default(family: str) -> None:
    prompts = FAMILIES[family]
    assert prompts.opening("") == prompts.system
    assert prompts.default_instruction in prompts.opening()


def test_words_survive_a_reply_that_was_cut_before_its_silence_marker() -> None:
    prompts = qwen2_5_vl.COMMENTARY
    assert prompts.words_of(" a long reply") == "a long reply"
    assert prompts.words_of(" a reply ...") == "a reply"
    assert prompts.words_of(" ...") == prompts.words_of("...") == ""


def test_a_checkpoint_brings_its_own_strings() -> None:
    prompts = qwen2_5_vl.COMMENTARY.with_settings({"time": "", "default_instruction": "Speak."})
    assert prompts.before_frames(3, 4) == "<|im_start|>user\n<|vision_start|>"
    assert "Speak." in prompts.opening()


@pytest.mark.parametrize("settings", [{"tyme": ""}, {"time": 3}])
def test_a_setting_that_is_none_or_no_text_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="commentary setting"):
        qwen2_5_vl.COMMENTARY.with_settings(settings)


def test_frames_begin_where_the_text_before_them_ends_on_every_axis() -> None:
    position_RN = torch.tensor([[40, 40, 42], [0, 1, 0], [0, 2, 1]])
    assert stand_at(position_RN, 7).tolist() == [[7, 7, 9], [7, 8, 7], [7, 9, 8]]
