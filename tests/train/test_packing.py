"""Rows with one stream and many questions give what each question gets alone from the stock model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hermes_stream.shapestream import TASKS
from hermes_stream.train.attention import N_GROUPS, layer_group, use_training_attention
from hermes_stream.train.collate import NO_LABEL, Batch, forward
from hermes_stream.train.episodes import EVERY_TASK, SNAPSHOT_TASKS, Episode, EpisodePlan, as_tasks, draw_episode
from hermes_stream.train.families import VISION_ID
from hermes_stream.train.forgetting import draw_forgetting, draw_gap_share
from hermes_stream.train.layout import lay_out_stream
from tests.train.conftest import Workshop

TOLERANCE = 2e-4


def draw_episodes(
    workshop: Workshop, n_episodes: int, n_grids: int, tasks: tuple[str, ...] = EVERY_TASK, gaps: float = 1.0
) -> list[Episode]:
    """Episodes with gaps and nothing evicted."""
    rng = np.random.default_rng(0)
    plan = EpisodePlan((3, n_grids), 6, as_tasks(tasks), gaps=gaps)
    episodes = [draw_episode(workshop.clip(seed), plan, rng, n_grids) for seed in range(n_episodes)]
    assert all(episode is not None for episode in episodes)
    return [episode for episode in episodes if episode is not None]


def alone(workshop: Workshop, model: Any, episode: Episode, number: int) -> torch.Tensor:
    """Answer logits of one question of an episode, cut out of its row and put through the stock attention."""
    asked = episode.asked[number]
    batch = workshop.collator([replace(episode, forget=None, asked=(asked,))])
    visibility = batch.visibility
    is_seen = torch.cat((visibility.question_BLQS[0, 0, 0], torch.ones(visibility.n_question_tokens, dtype=torch.bool)))
    features, *taps = batch.features_NE[_seen_features(batch, is_seen)].split(model.config.text_config.hidden_size, -1)
    embedded = model.get_input_embeddings()(batch.ids_BT[:, is_seen].clamp(min=0))
    newline = workshop.family.newline(model)
    if newline is not None and not asked.is_bare:
        embedded[0, int(visibility.question_BLQS[0, 0, 0].sum())] = newline
    is_vision = batch.ids_BT[:, is_seen] == VISION_ID
    embedded[is_vision] = features
    n_tokens = embedded.shape[1]
    mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    if episode.forget is not None:
        mask &= ~_hidden(workshop, episode, asked.after_grid, n_tokens)
    deepstack = {"visual_pos_masks": is_vision, "deepstack_visual_embeds": taps} if taps else {}
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        position_ids=batch.positions[..., is_seen],
        attention_mask=mask[None, None],
        use_cache=False,
        **deepstack,
    ).last_hidden_state
    logits: torch.Tensor = model.lm_head(hidden[batch.label_BT[:, is_seen] != NO_LABEL])
    return logits


def _seen_features(batch: Batch, is_seen_T: torch.Tensor) -> torch.Tensor:
    """Which of a row's features belong to rows that the question sees."""
    return is_seen_T[batch.ids_BT[0] == VISION_ID]


def _hidden(workshop: Workshop, episode: Episode, after_grid: int, n_tokens: int) -> torch.Tensor:
    """Rows over columns that have expired by the row's time; the same in all layers."""
    assert episode.forget is not None
    prefix = workshop.collator.token_ids(workshop.family.prompts.prefix)
    stream = lay_out_stream(workshop.family, prefix, episode, workshop.collator.token_ids)
    born = stream.grid_S[: int((stream.grid_S <= after_grid).sum())].astype(float)
    clock = np.concatenate((born, np.full(n_tokens - len(born), after_grid + 0.5)))
    expiry = np.full(n_tokens, np.inf)
    expiry[len(prefix) : len(born)] = episode.forget(stream.grid_S[len(prefix) :].astype(float))[
        0, : len(born) - len(prefix)
    ]
    return torch.from_numpy(clock[:, None] >= expiry[None, :])


def packed(workshop: Workshop, model: Any, episodes: list[Episode]) -> list[torch.Tensor]:
    """Answer logits of every question of a batch, in order."""
    lengths = [len(workshop.collator.answer_ids(asked)) for episode in episodes for asked in episode.asked]
    return list(forward(workshop.family, model, workshop.collator(episodes))[0].split(lengths))


@torch.no_grad()
def test_packed_questions_equal_each_question_alone(workshop: Workshop) -> None:
    stock, trained = workshop.model(), workshop.model()
    use_training_attention(trained)
    episodes = draw_episodes(workshop, 2, 16)
    numbers = [(episode, number) for episode in episodes for number in range(len(episode.asked))]
    seen = {e.asked[number].after_grid for e, number in numbers}
    assert len(seen) > 3
    has_waiting = any(e.asked[number].waiting_frame is not None for e, number in numbers)
    assert has_waiting == (workshop.family.frames_per_grid > 1)
    for (episode, number), logits in zip(numbers, packed(workshop, trained, episodes), strict=True):
        torch.testing.assert_close(logits, alone(workshop, stock, episode, number), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_the_loss_of_a_batch_is_the_loss_of_its_questions(workshop: Workshop) -> None:
    stock, trained = workshop.model(), workshop.model()
    use_training_attention(trained)
    episodes = draw_episodes(workshop, 1, 10)
    batch = workshop.collator(episodes)
    labels = batch.label_BT[batch.label_BT != NO_LABEL]
    logits = forward(workshop.family, trained, batch)[0]
    together = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    one_by_one = torch.zeros(())
    for number, asked in enumerate(episodes[0].asked):
        target = torch.tensor(workshop.collator.answer_ids(asked))
        single = alone(workshop, stock, episodes[0], number)
        one_by_one += torch.nn.functional.cross_entropy(single, target, reduction="sum")
    torch.testing.assert_close(together, one_by_one, atol=2e-3, rtol=0)


@torch.no_grad()
def test_a_question_does_not_see_later_grids_or_other_questions(workshop: Workshop) -> None:
    model = workshop.model()
    use_training_attention(model)
    episode = draw_episodes(workshop, 1, 16)[0]
    item = min(episode.asked, key=lambda asked: asked.after_grid)
    others = tuple(asked for asked in episode.asked if asked is not item)
    features = episode.clip.features_FNE.clone()
    newest = (episode.first_grid + item.after_grid + 1) * episode.clip.frames_per_grid - 1
    features[max(newest, item.waiting_frame or 0) + 1 :] += 5.0
    changed = replace(episode, clip=replace(episode.clip, features_FNE=features), asked=(item, *reversed(others)))
    before = packed(workshop, model, [replace(episode, asked=(item, *others))])[0]
    assert torch.equal(before, packed(workshop, model, [changed])[0])


@torch.no_grad()
def test_evicted_rows_are_hidden_from_later_rows_only(workshop: Workshop) -> None:
    """The same lifetimes in all layers equal a mask over the whole sequence in the stock model."""
    stock, trained = workshop.model(), workshop.model()
    use_training_attention(trained)
    episode = draw_episodes(workshop, 1, 16)[0]

    def forget(born_S: np.ndarray) -> np.ndarray:
        life = np.where(np.random.default_rng(2).random(len(born_S)) < 0.5, 2.0, np.inf)
        return np.tile(born_S + life, (N_GROUPS, 1))

    episode = replace(episode, forget=forget)
    for number, logits in enumerate(packed(workshop, trained, [episode])):
        torch.testing.assert_close(logits, alone(workshop, stock, episode, number), atol=TOLERANCE, rtol=0)


def test_layer_groups_split_ten_layers_into_one_six_and_three() -> None:
    assert [layer_group(index, 10) for index in range(10)] == [0, 1, 1, 1, 1, 1, 1, 2, 2, 2]


def test_groups_can_forget_different_rows(workshop: Workshop) -> None:
    episode = draw_episodes(workshop, 1, 8)[0]

    def forget(born_S: np.ndarray) -> np.ndarray:
        expiry = np.full((N_GROUPS, len(born_S)), np.inf)
        expiry[2, born_S == 0] = 0.25
        return expiry

    batch = workshop.collator([replace(episode, forget=forget)])
    n_prefix = len(workshop.collator.token_ids(workshop.family.prompts.prefix))
    first = slice(n_prefix, int(batch.grid_end_BG[0, 0]) + 1)
    late = [number for number, asked in enumerate(episode.asked) if asked.after_grid >= 0]
    seen = batch.visibility.question_BLQS[0, :, late, first]
    assert seen[:2].all()
    assert not seen[2].any()
    assert batch.visibility.stream_BLSS[0, 2, first.stop - 1, first].all()


@pytest.mark.parametrize("n_grids", [1, 5, 64, 96])
def test_positions_rise_and_stay_within_the_limit(workshop: Workshop, n_grids: int) -> None:
    rng = np.random.default_rng(n_grids)
    family = workshop.family
    clip = workshop.clip(n_grids=n_grids)
    for _ in range(30):
        episode = Episode(clip, 0, draw_gap_share(n_grids, rng), None, (), np.zeros((n_grids, 0)))
        stream = lay_out_stream(family, [1, 2, 3], episode, workshop.collator.token_ids)
        assert stream.position_RS.min() >= 0
        assert stream.position_RS.max() + 100 < family.position_limit
        ends = stream.position_RS[0, stream.grid_ends()]
        assert (np.diff(ends) >= family.stream_defaults["chunk"] // 2).all()
    plain = Episode(clip, 0, np.zeros(n_grids), None, (), np.zeros((n_grids, 0)))
    stream = lay_out_stream(family, [1, 2, 3], plain, workshop.collator.token_ids)
    assert int(stream.position_RS[0, 3]) == 3


def test_lifetimes_begin_with_the_row() -> None:
    rng = np.random.default_rng(0)
    born = np.repeat(np.arange(20.0), 4)
    for _ in range(100):
        expiry = draw_forgetting(20, rng)(born)
        assert expiry.shape == (N_GROUPS, len(born))
        assert (expiry > born).all()


def test_gaps_are_shares_that_grow() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shares = draw_gap_share(30, rng)
        assert 0 <= shares[0] <= shares[-1] <= 1 + 1e-9
        assert (np.diff(shares) >= 0).all()


def test_snapshots_ask_about_the_screen_only(llava: Workshop) -> None:
    plan = EpisodePlan((1, 2), 6, as_tasks(SNAPSHOT_TASKS))
    rng = np.random.default_rng(0)
    episodes = [draw_episode(llava.clip(seed), plan, rng, 1) for seed in range(10)]
    tasks = {asked.task for episode in episodes if episode is not None for asked in episode.asked}
    assert tasks <= {task for task, regime in TASKS.items() if regime == "real-time"}
