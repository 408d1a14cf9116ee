"""Rows with one stream and many questions give what each question gets alone from the stock model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from hermes_stream.shapestream import TASKS
from hermes_stream.train.architecture import POSITION_LIMIT, TOKENS_PER_FRAME
from hermes_stream.train.attention import N_GROUPS, layer_group, use_training_attention
from hermes_stream.train.collate import NO_LABEL, Collator, forward, make_visibility
from hermes_stream.train.episodes import (
    EVERY_TASK,
    SNAPSHOT_TASKS,
    Asked,
    Episode,
    EpisodePlan,
    as_tasks,
    draw_episode,
    draw_expiry,
    draw_frame_starts,
)
from hermes_stream.train.prompts import PREFIX
from tests.train.conftest import random_clip, small_model

TOLERANCE = 1e-4


def draw_episodes(n_episodes: int, n_frames: int, tasks: tuple[str, ...] = EVERY_TASK) -> list[Episode]:
    """Episodes with gaps and nothing evicted."""
    rng = np.random.default_rng(0)
    plan = EpisodePlan((3, n_frames), 6, as_tasks(tasks), gaps=1.0)
    episodes = [draw_episode(random_clip(seed), plan, rng, n_frames) for seed in range(n_episodes)]
    assert all(episode is not None for episode in episodes)
    return [episode for episode in episodes if episode is not None]


def alone(
    model: LlavaOnevisionForConditionalGeneration,
    collator: Collator,
    episode: Episode,
    asked: Asked,
    hidden_TT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Answer logits of one question by the stock forward; positions and order are written out by hand."""
    embed = model.get_input_embeddings()
    prefix, head, answer = collator.token_ids(PREFIX), collator.question_ids(asked), collator.answer_ids(asked)
    n_frames = asked.after_frame + 1
    newline = [] if asked.is_bare else [model.model.image_newline[None]]
    parts = [
        embed(torch.tensor(prefix)),
        episode.features_FNE[:n_frames].flatten(0, 1),
        *newline,
        embed(torch.tensor([*head[len(newline) :], *answer[:-1]])),
    ]
    embedded = torch.cat(parts)[None]
    cells = np.arange(TOKENS_PER_FRAME)
    vision = (len(prefix) + episode.frame_starts_F[:n_frames, None] + cells).reshape(-1)
    tail = vision[-1] + 1 + np.arange(len(head) + len(answer) - 1)
    positions = torch.tensor(np.concatenate((np.arange(len(prefix)), vision, tail)))[None]
    n_tokens = embedded.shape[1]
    mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    if hidden_TT is not None:
        mask &= ~hidden_TT
    output = model.model.language_model(
        inputs_embeds=embedded, position_ids=positions, attention_mask=mask[None, None], use_cache=False
    )
    logits: torch.Tensor = model.lm_head(output.last_hidden_state[0, -len(answer) :])
    return logits


def packed(
    model: LlavaOnevisionForConditionalGeneration, collator: Collator, episodes: list[Episode]
) -> list[torch.Tensor]:
    """Answer logits of every question of a batch, in order."""
    lengths = [len(collator.answer_ids(asked)) for episode in episodes for asked in episode.asked]
    return list(forward(model, collator(episodes))[0].split(lengths))


@torch.no_grad()
def test_packed_questions_equal_each_question_alone(tokenizer: PreTrainedTokenizerFast, collator: Collator) -> None:
    stock, trained = small_model(tokenizer), small_model(tokenizer)
    use_training_attention(trained)
    episodes = draw_episodes(2, 16)
    asked = [(episode, asked) for episode in episodes for asked in episode.asked]
    assert len({item.after_frame for _, item in asked}) > 3
    for (episode, item), logits in zip(asked, packed(trained, collator, episodes), strict=True):
        torch.testing.assert_close(logits, alone(stock, collator, episode, item), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_the_loss_of_a_batch_is_the_loss_of_its_questions(
    tokenizer: PreTrainedTokenizerFast, collator: Collator
) -> None:
    stock, trained = small_model(tokenizer), small_model(tokenizer)
    use_training_attention(trained)
    episodes = draw_episodes(1, 10)
    batch = collator(episodes)
    labels = batch.label_BT[batch.label_BT != NO_LABEL]
    together = torch.nn.functional.cross_entropy(forward(trained, batch)[0], labels, reduction="sum")
    one_by_one = torch.zeros(())
    for asked in episodes[0].asked:
        target = torch.tensor(collator.answer_ids(asked))
        logits = alone(stock, collator, episodes[0], asked)
        one_by_one += torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    torch.testing.assert_close(together, one_by_one, atol=1e-3, rtol=0)


@torch.no_grad()
def test_a_question_does_not_see_later_frames_or_other_questions(
    tokenizer: PreTrainedTokenizerFast, collator: Collator
) -> None:
    model = small_model(tokenizer)
    use_training_attention(model)
    episode = draw_episodes(1, 16)[0]
    item = min(episode.asked, key=lambda asked: asked.after_frame)
    first = replace(episode, asked=(item, *episode.asked))
    features = episode.features_FNE.clone()
    features[item.after_frame + 1 :] += 5.0
    changed = replace(first, features_FNE=features, asked=(item, *reversed(episode.asked)))
    before, after = packed(model, collator, [first])[0], packed(model, collator, [changed])[0]
    assert torch.equal(before, after)


@torch.no_grad()
def test_evicted_tokens_are_hidden_from_later_rows_only(tokenizer: PreTrainedTokenizerFast, collator: Collator) -> None:
    """The same lifetimes in all layers equal a mask over the whole sequence in the stock model."""
    stock, trained = small_model(tokenizer), small_model(tokenizer)
    use_training_attention(trained)
    episode = draw_episodes(1, 16)[0]
    n_tokens = 16 * TOKENS_PER_FRAME
    born = np.repeat(np.arange(16.0), TOKENS_PER_FRAME)
    life = np.where(np.random.default_rng(2).random(n_tokens) < 0.5, 2.0, np.inf)
    episode = replace(episode, expiry_GN=np.tile(born + life, (N_GROUPS, 1)))
    n_prefix = len(collator.token_ids(PREFIX))
    for item, logits in zip(episode.asked, packed(trained, collator, [episode]), strict=True):
        n_vision = (item.after_frame + 1) * TOKENS_PER_FRAME
        n_tail = len(collator.question_ids(item)) + len(collator.answer_ids(item)) - 1
        clock = np.concatenate((np.full(n_prefix, -1.0), born[:n_vision], np.full(n_tail, item.after_frame + 0.5)))
        expiry = np.full(len(clock), np.inf)
        expiry[n_prefix : n_prefix + n_vision] = (born + life)[:n_vision]
        hidden = torch.from_numpy(clock[:, None] >= expiry[None, :])
        torch.testing.assert_close(logits, alone(stock, collator, episode, item, hidden), atol=TOLERANCE, rtol=0)


def test_layer_groups_split_ten_layers_into_one_six_and_three() -> None:
    assert [layer_group(index, 10) for index in range(10)] == [0, 1, 1, 1, 1, 1, 1, 2, 2, 2]


def test_groups_can_forget_different_tokens(collator: Collator) -> None:
    episode = draw_episodes(1, 8)[0]
    expiry = np.full((N_GROUPS, 8 * TOKENS_PER_FRAME), np.inf)
    expiry[2, :TOKENS_PER_FRAME] = 0.25
    episode = replace(episode, expiry_GN=expiry)
    visibility = make_visibility([episode], 5, len(episode.asked), 10)
    seen = visibility.question_BGQS[0, :, :, 5 : 5 + TOKENS_PER_FRAME]
    assert seen[:2].all()
    assert not seen[2].any()
    assert visibility.stream_BGSS[0, 2, 5 + TOKENS_PER_FRAME - 1, 5 : 5 + TOKENS_PER_FRAME].all()


@pytest.mark.parametrize("n_frames", [1, 5, 64, 96])
def test_positions_rise_and_stay_within_the_limit(n_frames: int) -> None:
    rng = np.random.default_rng(n_frames)
    for _ in range(200):
        starts = draw_frame_starts(n_frames, rng, has_gaps=True)
        assert len(starts) == n_frames
        assert (np.diff(starts) >= TOKENS_PER_FRAME).all()
        assert starts[0] >= 0
        assert starts[-1] + TOKENS_PER_FRAME + 100 < POSITION_LIMIT
    assert (draw_frame_starts(n_frames, rng, has_gaps=False) == np.arange(n_frames) * TOKENS_PER_FRAME).all()


def test_lifetimes_begin_with_the_token() -> None:
    rng = np.random.default_rng(0)
    born = np.repeat(np.arange(20.0), TOKENS_PER_FRAME)
    for _ in range(100):
        expiry = draw_expiry(20, rng)
        assert expiry.shape == (N_GROUPS, 20 * TOKENS_PER_FRAME)
        assert (expiry > born).all()


def test_snapshots_ask_about_the_screen_only() -> None:
    plan = EpisodePlan((1, 2), 6, as_tasks(SNAPSHOT_TASKS))
    rng = np.random.default_rng(0)
    episodes = [draw_episode(random_clip(seed), plan, rng, 1) for seed in range(10)]
    tasks = {asked.task for episode in episodes if episode is not None for asked in episode.asked}
    assert tasks <= {task for task, regime in TASKS.items() if regime == "real-time"}
