"""Chunks read from disk as they are wanted, and joined to batches.

Shape letters: B batch, T tokens, R position axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from hermes_stream.errors import ConfigError
from hermes_stream.train.commentary.inputs import FrameInputs
from hermes_stream.train.commentary.layout import NO_LABEL, STEP_SECONDS, ChunkLayout, LaidOut
from hermes_stream.train.commentary.records import Record, RecordFile
from hermes_stream.types import Frame
from hermes_stream.video.excerpt import read_frames_at


@dataclass(frozen=True, eq=False)
class Sample:
    """A chunk as the text model reads it, and what the vision tower gets, by the names of the stock forward."""

    chunk: LaidOut
    vision: dict[str, torch.Tensor]


class CommentaryDataset(Dataset[Sample]):
    """The chunks of several record files, one after the other; videos are decoded when a chunk is asked for.

    folder: of the videos. fps: sampled frames a second, whole grids in each second.
    """

    def __init__(
        self, files: Sequence[RecordFile], folder: Path, inputs: FrameInputs, layout: ChunkLayout, *, fps: float
    ) -> None:
        n_frames = round(fps * STEP_SECONDS)
        if n_frames < 1 or abs(n_frames - fps * STEP_SECONDS) > 1e-6 or n_frames % inputs.frames_per_grid:
            raise ConfigError(
                f"fps is {fps:g}; a second needs whole grids of {inputs.frames_per_grid} frames, give a multiple"
            )
        self._records = [(file, index) for file in files for index in range(len(file))]
        self._folder = folder
        self._inputs = inputs
        self._layout = layout
        self._frames_per_round = n_frames

    def __len__(self) -> int:
        return len(self._records)

    def record(self, index: int) -> Record:
        """Read from its file."""
        file, position = self._records[index]
        return file[position]

    def __getitem__(self, index: int) -> Sample:
        return self.sample(self.record(index))

    def sample(self, record: Record) -> Sample:
        """A record with the frames of its seconds."""
        spans, vision = self._inputs.rounds(self._rounds(record))
        return Sample(self._layout(record, spans), vision)

    def _rounds(self, record: Record) -> list[list[Frame]]:
        n_rounds = round((record.end_seconds - record.start_seconds) / STEP_SECONDS)
        n = self._frames_per_round
        times = [record.start_seconds + index * STEP_SECONDS / n for index in range(n_rounds * n)]
        frames = read_frames_at(self._folder / record.video, times)
        return [frames[start : start + n] for start in range(0, len(frames), n)]


class Collator:
    """Joins chunks to a batch of the stock forward's arguments; shorter rows end in padding, which nobody sees.

    Attention is causal, so that padding at the end needs no mask.
    """

    def __init__(self, padding_id: int) -> None:
        self._padding_id = padding_id

    def __call__(self, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """`input_ids` and `labels` `[B, T]`, `position_ids` `[B, T]` or `[R, B, T]`, vision inputs joined."""
        chunks = [sample.chunk for sample in samples]
        position_BTR = pad_sequence([chunk.position_RT.T for chunk in chunks], batch_first=True)
        position_RBT = position_BTR.permute(2, 0, 1).contiguous()
        vision = {name: torch.cat([sample.vision[name] for sample in samples]) for name in samples[0].vision}
        return {
            "input_ids": pad_sequence([c.ids_T for c in chunks], batch_first=True, padding_value=self._padding_id),
            "labels": pad_sequence([c.label_T for c in chunks], batch_first=True, padding_value=NO_LABEL),
            "position_ids": position_RBT if len(position_RBT) > 1 else position_RBT[0],
            **vision,
        }
