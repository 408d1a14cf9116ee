"""Supervised warm-up of the vision tower: what a grid shows, read off its tokens by linear heads.

From scratch, question answering alone leaves the tower blind to shapes; a few minutes of this bring it to 99 %. Where a
trained text model is taken over, its old tower is the teacher of the new one: the text model then understands at once.
Shape letters: G grids, F frames of a grid, C Y X channel, image height, width, N tokens of a grid, E model width, K
labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hermes_stream.shapestream.render import object_centers
from hermes_stream.shapestream.script import COLORS, ROOMS, SHAPES, SIZES, Script
from hermes_stream.train.episodes import FeatureClip
from hermes_stream.train.families import Family
from hermes_stream.train.parallel import average_gradients, n_processes, process_rank
from hermes_stream.train.pixels import Clip

# Label -1 means "do not ask": an object is half out of the picture, or there is none.
HEADS = {
    "shape": len(SHAPES),
    "color": len(COLORS),
    "room": len(ROOMS),
    "digit": 11,
    "count": 4,
    "size": len(SIZES),
    "place": 12,
}
_NO_DIGIT = 10
_UNKNOWN = -1
_LEARNING_RATE = 1.5e-3
# The newest frame of a grid matters most; a teacher matters more than the labels.
_LATER_WEIGHT, _EARLIER_WEIGHT, _TAUGHT_WEIGHT, _TAPS_WEIGHT = 0.5, 0.15, 4.0, 1.0
_N_CHECKED = 512
_BATCH_GRIDS = 64


@dataclass(frozen=True, slots=True)
class WarmupResult:
    """Accuracy of each head on held-out frames, after `n_steps` steps and `seconds`."""

    accuracy: dict[str, float]
    n_steps: int
    seconds: float


def frame_labels(script: Script, time_seconds: float) -> list[int]:
    """One class per head of `HEADS`, or -1."""
    scene, presence = script.scene_at(time_seconds), script.presence_at(time_seconds)
    digit = _NO_DIGIT if scene.digit is None else scene.digit
    if presence is None:
        return [_UNKNOWN, _UNKNOWN, ROOMS.index(scene.room), digit, 0, _UNKNOWN, _UNKNOWN]
    centers = object_centers(presence, time_seconds)
    if min(centers) < 0.15 or max(centers) > 0.85:
        return [_UNKNOWN, _UNKNOWN, ROOMS.index(scene.room), digit, _UNKNOWN, _UNKNOWN, _UNKNOWN]
    place = int((centers[0] - 0.15) / 0.7 * HEADS["place"]) if presence.count == 1 else _UNKNOWN
    size = SIZES.index(presence.size) if presence.count == 1 else _UNKNOWN
    shape, color = SHAPES.index(presence.kind.shape), COLORS.index(presence.kind.color)
    return [shape, color, ROOMS.index(scene.room), digit, presence.count, size, place]


@dataclass(frozen=True, eq=False)
class _Grids:
    """Grids of one shape: pixels, labels of their frames `[G, F, K]`, and what a teacher sees in the newest frame."""

    pixels_GFCYX: torch.Tensor
    labels_GFK: torch.Tensor
    taught_GNE: torch.Tensor | None


class _Pool:
    """Clips with their labels, by the shape of their grids."""

    def __init__(self, clips: Sequence[Clip], frames_per_grid: int) -> None:
        self._per_grid = frames_per_grid
        self._by_shape: dict[tuple[int, int], list[tuple[Clip, torch.Tensor]]] = {}
        for clip in clips:
            labels_FK = torch.tensor([frame_labels(clip.script, time) for time in clip.times_seconds])
            self._by_shape.setdefault(clip.shape, []).append((clip, labels_FK))
        self.shapes = sorted(self._by_shape)
        self.share = np.array([len(self._by_shape[shape]) for shape in self.shapes]) / max(len(clips), 1)

    def draw(self, shape: tuple[int, int], n_grids: int, rng: np.random.Generator) -> _Grids:
        """Random grids; any frame may be the newest, so that many wait for a partner."""
        clips = self._by_shape[shape]
        pixels, labels, taught = [], [], []
        for index in rng.integers(len(clips), size=n_grids):
            clip, labels_FK = clips[index]
            newest = int(rng.integers(len(clip.times_seconds)))
            frames = shown_frames(newest, self._per_grid)
            pixels.append(clip.pixels_FCYX[frames])
            labels.append(labels_FK[frames])
            if clip.taught_FNE is not None:
                taught.append(clip.taught_FNE[newest])
        return _Grids(torch.stack(pixels), torch.stack(labels), torch.stack(taught) if taught else None)


def warm_up(
    family: Family,
    model: Any,
    clips: Sequence[Clip],
    *,
    n_steps: int,
    batch_grids: int = 256,
    on_step: Callable[[int, float], None] | None = None,
) -> WarmupResult:
    """Train the vision tower on frame labels and its teacher; without one, scale the features to unit variance.

    on_step: called with the step and its loss.
    """
    began = time.monotonic()
    n_held_out = max(len(clips) // 16, 1)
    pool, held_out = (
        _Pool(clips[n_held_out:], family.frames_per_grid),
        _Pool(clips[:n_held_out], family.frames_per_grid),
    )
    reader = _GridReader(family, model, sorted({*pool.shapes, *held_out.shapes}))
    optimizer = torch.optim.AdamW(reader.parameters(), lr=_LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=n_steps, pct_start=0.1)
    rng = np.random.default_rng(process_rank())
    for step in range(n_steps):
        shape = pool.shapes[int(rng.choice(len(pool.shapes), p=pool.share))]
        with torch.autocast("cpu", torch.bfloat16):
            loss = reader.loss(pool.draw(shape, batch_grids // n_processes(), rng), shape)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        average_gradients(list(reader.parameters()))
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())
    checked = {shape: held_out.draw(shape, _N_CHECKED, np.random.default_rng(1)) for shape in held_out.shapes}
    if clips[0].taught_FNE is None:
        _scale_features(family, model, next(iter(checked.values())))
    return WarmupResult(reader.accuracy(checked), n_steps, time.monotonic() - began)


class _GridReader(nn.Module):
    """The vision tower with one linear head per label and frame on a grid's tokens; the heads are thrown away."""

    def __init__(self, family: Family, model: Any, shapes: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self._family, self._model = family, [model]
        self.vision = nn.ParameterList(family.vision_weights(model))
        self._width = model.config.text_config.hidden_size
        n_taps = len(getattr(model.config.vision_config, "deepstack_visual_indexes", ()))
        n_labels = family.frames_per_grid * sum(HEADS.values())
        self.heads = nn.ModuleDict(
            {
                _name(shape): nn.Sequential(nn.LayerNorm(size), nn.Linear(size, n_labels))
                for shape in shapes
                for size in [shape[0] * shape[1] * self._width * (1 + n_taps)]
            }
        )

    def loss(self, grids: _Grids, shape: tuple[int, int]) -> torch.Tensor:
        tokens_GNE = self._encode(grids)
        losses = [
            _cross_entropy(logits, grids.labels_GFK[:, frame, index])
            * (_LATER_WEIGHT if frame == self._family.frames_per_grid - 1 else _EARLIER_WEIGHT)
            for frame, row in enumerate(self._logits(tokens_GNE, shape))
            for index, logits in enumerate(row)
        ]
        if grids.taught_GNE is not None:
            taught_GNE = resample(grids.taught_GNE.float(), shape)
            losses.append(_TAUGHT_WEIGHT * F.mse_loss(tokens_GNE[..., : self._width], taught_GNE))
        # The text model that is taken over does not know DeepStack's taps: they begin as whispers.
        if (taps := tokens_GNE[..., self._width :]).numel():
            losses.append(_TAPS_WEIGHT * taps.square().mean())
        return torch.stack(losses).sum()

    @torch.no_grad()
    def accuracy(self, checked: Mapping[tuple[int, int], _Grids]) -> dict[str, float]:
        """Of each head on the newest frames."""
        right: dict[str, list[torch.Tensor]] = {name: [] for name in HEADS}
        for shape, grids in checked.items():
            newest = list(self._logits(self._encode(grids), shape))[-1]
            for index, name in enumerate(HEADS):
                labels = grids.labels_GFK[:, -1, index]
                right[name].append((newest[index].argmax(-1) == labels)[labels != _UNKNOWN])
        return {name: torch.cat(parts).float().mean().item() for name, parts in right.items()}

    def _encode(self, grids: _Grids) -> torch.Tensor:
        return self._family.encode(self._model[0], grids.pixels_GFCYX).float()

    def _logits(self, tokens_GNE: torch.Tensor, shape: tuple[int, int]) -> Iterator[tuple[torch.Tensor, ...]]:
        """For each frame of a grid, one tensor per label."""
        logits = self.heads[_name(shape)](tokens_GNE.flatten(1))
        for frame_logits in logits.unflatten(-1, (self._family.frames_per_grid, -1)).unbind(1):
            yield torch.split(frame_logits, list(HEADS.values()), dim=-1)


def resample(taught_GNE: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The teacher's two by two tokens at the places of another grid; a grid of the same size as it is."""
    if taught_GNE.shape[1] == shape[0] * shape[1]:
        return taught_GNE
    cells_GEYX = taught_GNE.unflatten(1, (2, 2)).permute(0, 3, 1, 2)
    resampled = F.interpolate(cells_GEYX, size=shape, mode="bilinear", align_corners=True)
    return resampled.permute(0, 2, 3, 1).flatten(1, 2)


def shown_frames(newest: int, frames_per_grid: int) -> list[int]:
    """The frames of a grid when its newest has come; it stands in for those that have not."""
    first = newest - newest % frames_per_grid
    return [min(first + index, newest) for index in range(frames_per_grid)]


@torch.no_grad()
def encode_frames(
    family: Family, model: Any, pixels_FCYX: torch.Tensor, *, dtype: torch.dtype = torch.bfloat16
) -> torch.Tensor:
    """`[F, N, E]`: for each frame its grid as it looks when this frame is the newest."""
    frames_FF = torch.tensor([shown_frames(newest, family.frames_per_grid) for newest in range(len(pixels_FCYX))])
    parts = pixels_FCYX[frames_FF].split(_BATCH_GRIDS)
    return torch.cat([family.encode(model, part).to(dtype) for part in parts])


def encode_clip(family: Family, model: Any, clip: Clip) -> FeatureClip:
    """All features of a clip at once, for a frozen vision tower."""
    features_FNE = encode_frames(family, model, clip.pixels_FCYX)
    return FeatureClip(clip.script, clip.fps, clip.times_seconds, features_FNE, clip.shape, family.frames_per_grid)


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the known labels; 0 where there is none."""
    total = F.cross_entropy(logits.float(), labels, ignore_index=_UNKNOWN, reduction="sum")
    return total / (labels != _UNKNOWN).sum().clamp(min=1)


def _name(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


@torch.no_grad()
def _scale_features(family: Family, model: Any, grids: _Grids) -> None:
    scale = family.encode(model, grids.pixels_GFCYX).float().std()
    last = family.last_vision_layer(model)
    last.weight.div_(scale)
    last.bias.div_(scale)
