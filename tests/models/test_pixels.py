"""What reaches the vision tower: colours in order, averages kept, cells where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hermes_stream import Frame
from hermes_stream.models.load import load_adapter
from hermes_stream.models.patches import PatchPreprocessor
from hermes_stream.models.preprocess import FixedSizePreprocessor

HALF = FixedSizePreprocessor(40, 40, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2), 1 / 255, "bicubic")


def plain(red: int, green: int, blue: int, height: int = 30, width: int = 50) -> Frame:
    return Frame(0.0, np.full((height, width, 3), (red, green, blue), np.uint8))


def test_colours_keep_their_channels_and_are_normalised() -> None:
    pixels = HALF([plain(255, 51, 0)])
    expected = torch.tensor([(1.0 - 0.5) / 0.5, (0.2 - 0.4) / 0.25, (0.0 - 0.3) / 0.2])
    torch.testing.assert_close(pixels[0], expected[:, None, None].expand(-1, 40, 40), atol=1e-5, rtol=0)


def test_shrinking_averages_instead_of_skipping() -> None:
    """Stripes of one pixel, black and white: without antialiasing the result would be stripes again."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, ::2] = 255
    pixels = FixedSizePreprocessor(40, 40, (0.0,) * 3, (1.0,) * 3, 1 / 255, "bicubic")([Frame(0.0, image)])
    assert float(pixels[..., 2:-2].std()) < 0.02
    assert float(pixels.mean()) == pytest.approx(0.5, abs=0.01)


def test_tokens_of_a_frame_are_where_they_look(llava_folder: Path) -> None:
    """A bright patch in one corner changes the token of that corner most."""
    adapter = load_adapter(str(llava_folder))
    dark = np.zeros((40, 40, 3), np.uint8)
    for row, column in ((0, 0), (0, 2), (2, 0), (2, 2)):
        lit = dark.copy()
        lit[row * 16 : row * 16 + 8, column * 16 : column * 16 + 8] = 255
        with torch.inference_mode():
            tokens = adapter.embed([Frame(0.0, dark), Frame(1.0, lit)], since_seconds=0.0)
        change = (tokens.embeddings_NE[9:] - tokens.embeddings_NE[:9]).norm(dim=-1)
        brightest = 9 + int(change.argmax())
        assert (int(tokens.row_N[brightest]), int(tokens.column_N[brightest])) == (row, column)
        assert int(tokens.frame_N[brightest]) == 1


PATCHES = PatchPreprocessor(
    patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=64, max_pixels=2304, mean=(0.0,) * 3, std=(1.0,) * 3,
    rescale_factor=1.0, resample="bicubic",
)  # fmt: skip


def test_patches_hold_both_frames_channel_by_channel_in_merged_order() -> None:
    """Against loops: patch rows run over merged cells, then inside them; columns over channel, frame, y, x."""
    generator = np.random.default_rng(0)
    frames = [Frame(float(i), generator.integers(0, 256, (16, 24, 3), dtype=np.uint8)) for i in range(4)]
    patches, grids = PATCHES(frames)
    assert grids.tolist() == [[1, 4, 6], [1, 4, 6]]
    expected = []
    for pair in (frames[:2], frames[2:]):
        for cell_row in range(2):
            for cell_column in range(3):
                for row in range(2):
                    for column in range(2):
                        y, x = (cell_row * 2 + row) * 4, (cell_column * 2 + column) * 4
                        blocks = [frame.image_YXC[y : y + 4, x : x + 4].transpose(2, 0, 1) for frame in pair]
                        expected.append(np.stack(blocks, axis=1).reshape(-1))
    np.testing.assert_allclose(patches.numpy(), np.stack(expected), atol=1e-4)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((16, 24), (16, 24)), ((360, 640), (32, 64)), ((5, 7), (8, 8)), ((1000, 30), (272, 8)), ((48, 48), (48, 48))],
)
def test_frames_are_resized_to_whole_cells_within_the_budget(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert PATCHES.target_size(*size) == expected
    rows, columns = expected
    assert 64 <= rows * columns <= 2304
