"""Episodes to batches: a row holds a stream and many questions, and a mask keeps them apart.

A question sees the prefix, the grids up to its moment as far as the memory still holds them, and itself; a frame that
waits for its partner belongs to the question, as in the engine.
Shape letters: B batch, T tokens of a row (S of the stream, then Q questions of M tokens each), L layer groups, G grids,
K tracked facts, E model width, N vision tokens, R position axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from hermes_stream.train.attention import N_GROUPS, Evidence, Visibility
from hermes_stream.train.episodes import Asked, Episode, FeatureClip
from hermes_stream.train.evidence import NAMING_TASKS, PART_SEPARATOR
from hermes_stream.train.families import NEWLINE_ID, VISION_ID, Family
from hermes_stream.train.layout import Rows, Stream, lay_out_stream, lay_out_tail
from hermes_stream.train.tokenizer import IM_END

NO_LABEL = -100

_PADDING_ID = 0
_PREFIX_CLOCK = -1.0
_QUESTION_DELAY = 0.5
# The words at the end of a question: "red room?", "square last?"
_NAMING_ROWS = 3


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of S stream tokens and Q questions of M tokens.

    ids_BT: token ids, `VISION_ID` and `NEWLINE_ID` where embeddings of another kind enter.
    positions: `[B, T]` for one axis, `[R, B, T]` for several.
    features_NE: the vision features of all rows in order; wider than the model by the taps of DeepStack.
    label_BT: the next token where it belongs to an answer, else `NO_LABEL`; weight_BT: weight of that prediction.
    n_stream: S, the same in all rows, padding included.
    grid_end_BG: the last row of each grid; tracked_BGK: labels of `tracking` for it.
    """

    ids_BT: torch.Tensor
    positions: torch.Tensor
    features_NE: torch.Tensor
    label_BT: torch.Tensor
    weight_BT: torch.Tensor
    visibility: Visibility
    evidence: Evidence
    n_stream: int
    grid_end_BG: torch.Tensor
    tracked_BGK: torch.Tensor


class Collator:
    """Builds batches out of episodes of equal length; ids of texts are remembered, because the language is small."""

    def __init__(self, family: Family, tokenizer: PreTrainedTokenizerFast) -> None:
        self.family = family
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._end_id = int(tokenizer.convert_tokens_to_ids(IM_END))
        self._prefix = self.token_ids(family.prompts.prefix)
        self._n_closing = len(self.token_ids(family.prompts.question.partition("{text}")[2]))
        (self._separator_id,) = self.token_ids(PART_SEPARATOR)

    def token_ids(self, text: str) -> list[int]:
        """Ids of a text, without anything added."""
        if text not in self._known:
            self._known[text] = list(self._tokenizer(text, add_special_tokens=False).input_ids)
        return self._known[text]

    def question_ids(self, asked: Asked) -> list[int]:
        """The text of the private tail up to the answer, in its template; a bare prompt is only itself."""
        if asked.is_bare:
            return self.token_ids(asked.question)
        text = self.token_ids(self.family.prompts.question.format(text=asked.question))
        return [NEWLINE_ID, *text] if self.family.has_newline else text

    def answer_ids(self, asked: Asked) -> list[int]:
        """The answer and the end of the turn."""
        return [*self.token_ids(asked.answer), self._end_id]

    def span_tokens(self, clip: FeatureClip) -> int:
        """Rows of a grid of a clip."""
        return len(self.family.span(clip.grid_times(0), clip.shape, self.token_ids).ids)

    def __call__(self, episodes: Sequence[Episode]) -> Batch:
        streams = [lay_out_stream(self.family, self._prefix, episode, self.token_ids) for episode in episodes]
        tails = [[self._tail(e, s, asked) for asked in e.asked] for e, s in zip(episodes, streams, strict=True)]
        n_stream = max(len(stream.ids) for stream in streams)
        n_tokens = max(len(tail.ids) for row in tails for tail in row)
        n_questions = max(len(row) for row in tails)
        sheet = _Sheet.empty(len(episodes), n_stream, n_questions, n_tokens, self.family.n_axes)
        for row, (episode, stream) in enumerate(zip(episodes, streams, strict=True)):
            sheet.write(row, 0, stream)
            for number, (asked, tail) in enumerate(zip(episode.asked, tails[row], strict=True)):
                start, answer = n_stream + number * n_tokens, self.answer_ids(asked)
                sheet.write(row, start, tail)
                # The last answer token is predicted, never read.
                first, end = len(tail.ids) - len(answer), len(tail.ids)
                sheet.label_BT[row, start + first : start + end] = answer
                sheet.weight_BT[row, start + first : start + end] = 1 / np.sqrt(len(answer))
                self._mark_asked(asked, stream, sheet.named_BQMS[row, number, : first + 1])
                self._mark_answer(asked, stream, answer, sheet.said_BQMS[row, number, first:end])
        visibility = make_visibility(episodes, streams, n_stream, n_questions, n_tokens)
        evidence = Evidence.of(torch.from_numpy(sheet.named_BQMS), torch.from_numpy(sheet.said_BQMS), visibility)
        position_RBT = torch.from_numpy(sheet.position_RBT)
        return Batch(
            ids_BT=torch.from_numpy(sheet.ids_BT),
            positions=position_RBT if self.family.n_axes > 1 else position_RBT[0],
            features_NE=torch.cat([part for episode in episodes for part in _features(episode)]),
            label_BT=torch.from_numpy(sheet.label_BT),
            weight_BT=torch.from_numpy(sheet.weight_BT),
            visibility=replace(visibility, evidence=evidence),
            evidence=evidence,
            n_stream=n_stream,
            grid_end_BG=torch.from_numpy(np.stack([stream.grid_ends() for stream in streams])),
            tracked_BGK=torch.from_numpy(np.stack([episode.tracked_GK for episode in episodes])),
        )

    def _mark_asked(self, asked: Asked, stream: Stream, shown_MS: NDArray[np.bool_]) -> None:
        """What a question names, for the last rows of its text; `shown_MS` ends where the answer begins."""
        if asked.task in NAMING_TASKS and asked.evidence:
            end = len(shown_MS) - self._n_closing
            shown_MS[end - _NAMING_ROWS : end, : len(stream.ids)] = stream.shows(asked.evidence[0])

    def _mark_answer(self, asked: Asked, stream: Stream, answer: Sequence[int], shown_MS: NDArray[np.bool_]) -> None:
        """For each row of an answer, the stream's rows that show what its part of the answer names."""
        part = 0
        for row, token in enumerate(answer[:-1]):
            if token == self._separator_id:
                part += 1
            elif part < len(asked.evidence):
                shown_MS[row, : len(stream.ids)] = stream.shows(asked.evidence[part])

    def _tail(self, episode: Episode, stream: Stream, asked: Asked) -> Rows:
        text = [*self.question_ids(asked), *self.answer_ids(asked)[:-1]]
        return lay_out_tail(self.family, episode, stream, asked, text, self.token_ids)


@dataclass(frozen=True, eq=False)
class _Sheet:
    """The arrays of a batch while they are filled; see `Batch` and `Evidence`."""

    ids_BT: NDArray[np.int64]
    position_RBT: NDArray[np.int64]
    label_BT: NDArray[np.int64]
    weight_BT: NDArray[np.float32]
    named_BQMS: NDArray[np.bool_]
    said_BQMS: NDArray[np.bool_]

    @staticmethod
    def empty(n_rows: int, n_stream: int, n_questions: int, n_tokens: int, n_axes: int) -> _Sheet:
        shape = (n_rows, n_stream + n_questions * n_tokens)
        shown = (n_rows, n_questions, n_tokens, n_stream)
        return _Sheet(
            ids_BT=np.full(shape, _PADDING_ID, dtype=np.int64),
            position_RBT=np.zeros((n_axes, *shape), dtype=np.int64),
            label_BT=np.full(shape, NO_LABEL, dtype=np.int64),
            weight_BT=np.zeros(shape, dtype=np.float32),
            named_BQMS=np.zeros(shown, dtype=bool),
            said_BQMS=np.zeros(shown, dtype=bool),
        )

    def write(self, row: int, start: int, rows: Rows) -> None:
        place = slice(start, start + len(rows.ids))
        self.ids_BT[row, place] = rows.ids
        self.position_RBT[:, row, place] = rows.position_RS


def _features(episode: Episode) -> list[torch.Tensor]:
    """Features of an episode in the order of its rows: the grids of the stream, then those of its questions."""
    per_grid, features_FNE = episode.clip.frames_per_grid, episode.clip.features_FNE
    last = (episode.first_grid + np.arange(episode.n_grids) + 1) * per_grid - 1
    waiting = [asked.waiting_frame for asked in episode.asked if asked.waiting_frame is not None]
    return [features_FNE[last].flatten(0, 1), features_FNE[waiting].flatten(0, 1)]


def make_visibility(
    episodes: Sequence[Episode], streams: Sequence[Stream], n_stream: int, n_questions: int, n_tokens: int
) -> Visibility:
    """The stream is open to every row that is not earlier than it, until it expires; the prefix never does.

    Padding behind a stream is later than everything.
    """
    clock_BS = torch.full((len(episodes), n_stream), float("inf"), dtype=torch.float64)
    clock_BQ = torch.full((len(episodes), n_questions), _PREFIX_CLOCK, dtype=torch.float64)
    expiry_BLS = torch.full((len(episodes), N_GROUPS, n_stream), float("inf"), dtype=torch.float64)
    for row, (episode, stream) in enumerate(zip(episodes, streams, strict=True)):
        born_S = stream.grid_S.astype(np.float64)
        clock_BS[row, : len(born_S)] = torch.from_numpy(np.where(born_S < 0, _PREFIX_CLOCK, born_S))
        if episode.forget is not None:
            in_grids = slice(int((born_S < 0).sum()), len(born_S))
            expiry_BLS[row, :, in_grids] = torch.from_numpy(episode.forget(born_S[in_grids]))
        for number, asked in enumerate(episode.asked):
            clock_BQ[row, number] = asked.after_grid + _QUESTION_DELAY
    causal_SS = torch.ones(n_stream, n_stream, dtype=torch.bool).tril()
    # Padding reads at no time of its own, so that something is left for it to see.
    read_BS = torch.where(clock_BS.isinf(), _PREFIX_CLOCK, clock_BS)
    stream_BLSS = causal_SS & (read_BS[:, None, :, None] < expiry_BLS[:, :, None, :])
    is_past_BQS = clock_BS[:, None] <= clock_BQ[..., None]
    question_BLQS = is_past_BQS[:, None] & (clock_BQ[:, None, :, None] < expiry_BLS[:, :, None, :])
    return Visibility(stream_BLSS, question_BLQS, n_tokens)


def forward(family: Family, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[n_labels, vocabulary]` of the labelled places, and the hidden states `[B, S, E]` of the streams.

    The model must use the training attention.
    """
    embedded_BTE = model.get_input_embeddings()(batch.ids_BT.clamp(min=0))
    newline = family.newline(model)
    if newline is not None:
        embedded_BTE = torch.where((batch.ids_BT == NEWLINE_ID)[..., None], newline, embedded_BTE)
    is_vision_BT = batch.ids_BT == VISION_ID
    features_NE, *taps = batch.features_NE.to(embedded_BTE.dtype).split(embedded_BTE.shape[-1], dim=-1)
    embedded_BTE = embedded_BTE.masked_scatter(is_vision_BT[..., None].expand_as(embedded_BTE), features_NE)
    deepstack = {"visual_pos_masks": is_vision_BT, "deepstack_visual_embeds": taps} if taps else {}
    hidden_BTE = model.model.language_model(
        inputs_embeds=embedded_BTE,
        position_ids=batch.positions,
        use_cache=False,
        visibility=batch.visibility,
        **deepstack,
    ).last_hidden_state
    return model.lm_head(hidden_BTE[batch.label_BT != NO_LABEL]), hidden_BTE[:, : batch.n_stream]
