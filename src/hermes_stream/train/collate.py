"""Episodes to batches: a row holds a stream and many questions, and a mask keeps them apart.

A question sees the prefix, the frames up to its moment as far as the memory still holds them, and itself.
Shape letters: B batch, T tokens of a row (S of the stream, then Q questions of M tokens each), G layer groups, E model
width, N vision tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from hermes_stream.train.architecture import TOKENS_PER_FRAME
from hermes_stream.train.attention import N_GROUPS, Visibility
from hermes_stream.train.episodes import Asked, Episode
from hermes_stream.train.prompts import PREFIX, QUESTION
from hermes_stream.train.tokenizer import IM_END

NO_LABEL = -100
VISION_ID = -1
NEWLINE_ID = -2

_PADDING_ID = 0
_PREFIX_CLOCK = -1.0
_QUESTION_DELAY = 0.5


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of S stream tokens and Q questions of M tokens.

    ids_BT: token ids, `VISION_ID` and `NEWLINE_ID` where embeddings of another kind enter.
    features_NE: the vision features of all rows in order.
    label_BT: the next token where it belongs to an answer, else `NO_LABEL`; weight_BT: weight of that prediction.
    n_stream: S, the same in all rows.
    tracked_BFL: labels of `tracking` for each frame.
    """

    ids_BT: torch.Tensor
    positions_BT: torch.Tensor
    features_NE: torch.Tensor
    label_BT: torch.Tensor
    weight_BT: torch.Tensor
    visibility: Visibility
    n_stream: int
    tracked_BFL: torch.Tensor


class Collator:
    """Builds batches out of episodes of equal length; ids of texts are remembered, because the language is small."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._end_id = int(tokenizer.convert_tokens_to_ids(IM_END))

    def token_ids(self, text: str) -> list[int]:
        """Ids of a text, without anything added."""
        if text not in self._known:
            self._known[text] = list(self._tokenizer(text, add_special_tokens=False).input_ids)
        return self._known[text]

    def question_ids(self, asked: Asked) -> list[int]:
        """The private tail up to the answer: newline, question in its template; a bare prompt is only itself."""
        if asked.is_bare:
            return self.token_ids(asked.question)
        return [NEWLINE_ID, *self.token_ids(QUESTION.format(text=asked.question))]

    def answer_ids(self, asked: Asked) -> list[int]:
        """The answer and the end of the turn."""
        return [*self.token_ids(asked.answer), self._end_id]

    def __call__(self, episodes: Sequence[Episode]) -> Batch:
        # The last answer token is predicted, never read.
        n_tokens = max(len(self.question_ids(a)) + len(self.answer_ids(a)) - 1 for e in episodes for a in e.asked)
        n_questions = max(len(episode.asked) for episode in episodes)
        n_prefix = len(self.token_ids(PREFIX))
        n_stream = n_prefix + TOKENS_PER_FRAME * len(episodes[0].frame_starts_F)
        shape = (len(episodes), n_stream + n_questions * n_tokens)
        ids_BT = np.full(shape, _PADDING_ID)
        positions_BT = np.zeros(shape, dtype=np.int64)
        label_BT = np.full(shape, NO_LABEL)
        weight_BT = np.zeros(shape, dtype=np.float32)
        for row, episode in enumerate(episodes):
            ids_BT[row, :n_stream], positions_BT[row, :n_stream] = self._stream(episode)
            for number, asked in enumerate(episode.asked):
                place = slice(n_stream + number * n_tokens, n_stream + (number + 1) * n_tokens)
                self._write_question(asked, ids_BT[row, place], label_BT[row, place], weight_BT[row, place])
                newest = int(episode.frame_starts_F[asked.after_frame])
                first_position = n_prefix + newest + TOKENS_PER_FRAME
                positions_BT[row, place] = first_position + np.arange(n_tokens)
        return Batch(
            ids_BT=torch.from_numpy(ids_BT),
            positions_BT=torch.from_numpy(positions_BT),
            features_NE=torch.cat([episode.features_FNE.flatten(0, 1) for episode in episodes]),
            label_BT=torch.from_numpy(label_BT),
            weight_BT=torch.from_numpy(weight_BT),
            visibility=make_visibility(episodes, n_prefix, n_questions, n_tokens),
            n_stream=n_stream,
            tracked_BFL=torch.from_numpy(np.stack([episode.tracked_FL for episode in episodes])),
        )

    def _stream(self, episode: Episode) -> tuple[list[int], list[int]]:
        """Ids and positions of the prefix and the frames."""
        prefix = self.token_ids(PREFIX)
        ids, positions = list(prefix), list(range(len(prefix)))
        for start in episode.frame_starts_F.tolist():
            ids.extend([VISION_ID] * TOKENS_PER_FRAME)
            positions.extend(len(prefix) + start + cell for cell in range(TOKENS_PER_FRAME))
        return ids, positions

    def _write_question(self, asked: Asked, ids_M: np.ndarray, label_M: np.ndarray, weight_M: np.ndarray) -> None:
        head, answer = self.question_ids(asked), self.answer_ids(asked)
        read = [*head, *answer[:-1]]
        ids_M[: len(read)] = read
        label_M[len(head) - 1 : len(read)] = answer
        weight_M[len(head) - 1 : len(read)] = 1 / np.sqrt(len(answer))


def make_visibility(episodes: Sequence[Episode], n_prefix: int, n_questions: int, n_tokens: int) -> Visibility:
    """The stream is open to every row that is not earlier than it, until it expires; the prefix never does."""
    n_frames = len(episodes[0].frame_starts_F)
    frame_clock = np.repeat(np.arange(n_frames, dtype=np.float64), TOKENS_PER_FRAME)
    clock_S = torch.from_numpy(np.concatenate((np.full(n_prefix, _PREFIX_CLOCK), frame_clock)))
    clock_BQ = torch.full((len(episodes), n_questions), _PREFIX_CLOCK, dtype=torch.float64)
    expiry_BGS = torch.full((len(episodes), N_GROUPS, len(clock_S)), float("inf"), dtype=torch.float64)
    for row, episode in enumerate(episodes):
        expiry_BGS[row, :, n_prefix:] = torch.from_numpy(episode.expiry_GN)
        for number, asked in enumerate(episode.asked):
            clock_BQ[row, number] = asked.after_frame + _QUESTION_DELAY
    n_stream = len(clock_S)
    causal_SS = torch.ones(n_stream, n_stream, dtype=torch.bool).tril()
    stream_BGSS = causal_SS & (clock_S[:, None] < expiry_BGS[:, :, None, :])
    question_BGQS = (clock_S <= clock_BQ[..., None])[:, None] & (clock_BQ[:, None, :, None] < expiry_BGS[:, :, None, :])
    return Visibility(stream_BGSS, question_BGQS, n_tokens)


def forward(model: LlavaOnevisionForConditionalGeneration, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[n_labels, vocabulary]` of the labelled places, and the hidden states `[B, S, E]` of the streams.

    The model must use the training attention.
    """
    embedded_BTE = model.get_input_embeddings()(batch.ids_BT.clamp(min=0))
    is_newline = (batch.ids_BT == NEWLINE_ID)[..., None]
    embedded_BTE = torch.where(is_newline, model.model.image_newline, embedded_BTE)
    is_vision = (batch.ids_BT == VISION_ID)[..., None].expand_as(embedded_BTE)
    embedded_BTE = embedded_BTE.masked_scatter(is_vision, batch.features_NE.to(embedded_BTE.dtype))
    hidden_BTE = model.model.language_model(
        inputs_embeds=embedded_BTE, position_ids=batch.positions_BT, use_cache=False, visibility=batch.visibility
    ).last_hidden_state
    return model.lm_head(hidden_BTE[batch.label_BT != NO_LABEL]), hidden_BTE[:, : batch.n_stream]
