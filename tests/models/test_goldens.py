"""Our preprocessing against arrays that the official video processors made (see goldens/make_goldens.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hermes_stream import Frame
from hermes_stream.models import qwen2_5_vl, qwen3_vl
from hermes_stream.models.preprocess import FixedSizePreprocessor
from hermes_stream.models.random_weights import PREPROCESSORS
from tests.models.goldens.cases import CASES, PUBLISHED, QWEN2_5_PIXELS, QWEN3_PIXELS, Case, thin

GOLDENS = np.load(Path(__file__).parent / "goldens" / "goldens.npz")
MAKE_PATCHES = {"qwen2_5_vl": qwen2_5_vl.make_patches, "qwen3_vl": qwen3_vl.make_patches}


def preprocess(case: Case) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ours: pixel values and grids. A frame without a partner comes twice, as a stream shows it to a question."""
    frames = [Frame(float(index), image) for index, image in enumerate(case.images())]
    if case.family == "llava_onevision":
        return FixedSizePreprocessor.from_settings(PUBLISHED[case.family])(frames).numpy(), np.empty((0, 3))
    frames += [frames[-1]] * (len(frames) % 2)
    patches, grids = MAKE_PATCHES[case.family](PUBLISHED[case.family], case.max_pixels)(frames)
    return patches.numpy(), grids.numpy()


def levels(pixels: NDArray[Any], family: str) -> NDArray[Any]:
    """Normalised values back to 0 ... 255, as an independent formula says."""
    mean, std = (np.array(PUBLISHED[family][key]) for key in ("image_mean", "image_std"))
    if pixels.ndim == 2:
        channel = np.arange(pixels.shape[1]) * 3 // pixels.shape[1]
        return (pixels * std[channel] + mean[channel]) * 255
    return (pixels * std[:, None, None] + mean[:, None, None]) * 255


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_frames_become_what_the_official_processor_makes_of_them(case: Case) -> None:
    """Grids exactly; pixels up to one level of 256, and nearly all exactly: other processors may round otherwise."""
    pixels, grids = preprocess(case)
    expected, expected_grid = GOLDENS[f"{case.name}/pixels"], GOLDENS[f"{case.name}/grid"]
    assert list(pixels.shape) == GOLDENS[f"{case.name}/shape"].tolist()
    for n_grids, n_rows, n_columns in expected_grid:
        # The processor counts a clip's patches of time in one grid, a stream has one grid for each.
        assert grids.tolist() == [[1, n_rows, n_columns]] * n_grids
    off = np.abs(levels(thin(pixels), case.family) - expected)
    assert off.max() < 1.01
    assert (off < 0.01).mean() > 0.99


@pytest.mark.parametrize("family", PUBLISHED)
def test_values_are_normalised_bit_by_bit_as_in_the_official_processor(family: str) -> None:
    expected = GOLDENS[f"{family}/normalised"]
    image = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    settings = PUBLISHED[family]
    if family == "llava_onevision":
        settings = {**settings, "size": {"height": 16, "width": 16}}
        ours = FixedSizePreprocessor.from_settings(settings)([Frame(0.0, image)])[0].flatten(1).numpy()
    else:
        # One pixel a token, so that rows run over the ramp and columns over channel and time.
        settings = {**settings, "patch_size": 1, "merge_size": 1, "min_pixels": 1, "max_pixels": 256}
        patches, _ = MAKE_PATCHES[family](settings, 256)([Frame(0.0, image)] * 2)
        ours = patches.numpy()[:, ::2].T
    assert ours.dtype == expected.dtype == np.float32
    assert np.array_equal(ours, expected)


def test_settings_come_from_the_checkpoint_and_not_from_the_class() -> None:
    """The class defaults of LLaVA-OneVision's processor are CLIP's mean and deviation, the checkpoints' are not."""
    from_checkpoint = FixedSizePreprocessor.from_settings(PUBLISHED["llava_onevision"])
    assert (from_checkpoint.mean, from_checkpoint.std) == ((0.5,) * 3, (0.5,) * 3)
    assert (from_checkpoint.height, from_checkpoint.width, from_checkpoint.resample) == (384, 384, "bicubic")
    old_spelling = qwen2_5_vl.make_patches(PUBLISHED["qwen2_5_vl"])
    assert (old_spelling.min_pixels, old_spelling.max_pixels) == (3136, QWEN2_5_PIXELS)
    new_spelling = {
        **PUBLISHED["qwen2_5_vl"], "min_pixels": None, "max_pixels": None,
        "size": {"shortest_edge": 3136, "longest_edge": 12845056},
    }  # fmt: skip
    assert qwen2_5_vl.make_patches(new_spelling) == old_spelling
    assert qwen2_5_vl.make_patches(new_spelling, 2_000_000).max_pixels == 2_000_000
    assert qwen3_vl.make_patches(PUBLISHED["qwen3_vl"]).max_pixels == QWEN3_PIXELS


@pytest.mark.parametrize("family", PUBLISHED)
def test_random_models_are_preprocessed_like_the_published_ones(family: str) -> None:
    if family == "llava_onevision":
        made = [FixedSizePreprocessor.from_settings(settings[family]) for settings in (PREPROCESSORS, PUBLISHED)]
    else:
        made = [MAKE_PATCHES[family](settings[family]) for settings in (PREPROCESSORS, PUBLISHED)]
    assert made[0] == made[1]


def test_the_arrays_stay_small() -> None:
    assert (Path(__file__).parent / "goldens" / "goldens.npz").stat().st_size < 2**18
