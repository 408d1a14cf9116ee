"""What the official video processors make of the clips in `cases.py`; writes `goldens.npz` beside this file.

They need torchvision, which cannot live in the project's own environment: its wheel wants another torch. So once, and
again when transformers changes its processors:

    python3 -m venv goldens-env
    goldens-env/bin/pip install torch==2.13.0 transformers==5.23.0
    goldens-env/bin/pip install --no-deps torchvision
    goldens-env/bin/python tests/models/goldens/make_goldens.py

Kept of every clip: pixel values after resizing and patching but before normalising (uint8, thinned), the grid, and for
every channel what each of the 256 values becomes when normalised (float32). Looking the one up in the other gives the
processor's output; this script checks that it gives it bit by bit.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

HERE = Path(__file__).parent
# The files beside this one, which the environment that runs it does not know as a package.
sys.path.insert(0, str(HERE))

from cases import CASES, PUBLISHED, Case, thin  # noqa: E402

# torchvision registers fakes for operators of its compiled part, which does not load beside a CPU build of torch.
_STUBS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _STUBS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from transformers import LlavaOnevisionVideoProcessor, Qwen2VLVideoProcessor, Qwen3VLVideoProcessor  # noqa: E402

PROCESSORS = {
    "llava_onevision": LlavaOnevisionVideoProcessor,
    "qwen2_5_vl": Qwen2VLVideoProcessor,
    "qwen3_vl": Qwen3VLVideoProcessor,
}
_N_CHANNELS = 3
# No frames left out, no bound beyond the one of `options_of`.
_PLAIN = {"cap_pixels_per_frame": False, "do_sample_frames": False}


def load_processor(family: str) -> Any:
    """As from a checkpoint's folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(PUBLISHED[family]))
        return PROCESSORS[family].from_pretrained(folder)


def options_of(case: Case, processor: Any) -> dict[str, Any]:
    """The stream's budget in the processor's words. Qwen3-VL's counts a whole clip: as often as there are frames."""
    if case.max_pixels is None:
        return {}
    least = processor.size["shortest_edge"]
    most = case.max_pixels
    if case.family == "qwen3_vl":
        factor = processor.patch_size * processor.merge_size
        least, most = factor**2 * case.n_frames, most * case.n_frames
    size = {"shortest_edge": least, "longest_edge": most}
    return {"size": size, **_PLAIN}


def run(case: Case, processor: Any, **options: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pixel values, `[P, D]` or `[F, C, Y, X]`, and grids `[n, 3]` (empty for a family without)."""
    video = torch.from_numpy(np.stack(case.images())).permute(0, 3, 1, 2)
    output = processor(videos=[video], return_tensors="pt", **options_of(case, processor), **options)
    pixels = output["pixel_values_videos"]
    grid = output.get("video_grid_thw", torch.empty(0, 3, dtype=torch.int64))
    return (pixels[0] if pixels.dim() == 5 else pixels).numpy(), grid.numpy()


def channel_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """The channel of every value, in the shape of the pixels: columns of patches run channel by channel."""
    if pixels.ndim == 2:
        return np.broadcast_to(np.arange(pixels.shape[1]) * _N_CHANNELS // pixels.shape[1], pixels.shape)
    return np.broadcast_to(np.arange(_N_CHANNELS)[:, None, None], pixels.shape)


def normalised_values(family: str, processor: Any) -> NDArray[Any]:
    """float32 `[3, 256]`: every value of every channel, seen through the processor without resizing."""
    height, width = 64, 128
    ramp = (np.arange(height * width) % 256).astype(np.uint8).reshape(height, width)
    video = torch.from_numpy(np.repeat(ramp[None, None], _N_CHANNELS, axis=1).repeat(2, axis=0))
    extra = {} if family == "llava_onevision" else {"patch_size": 1, "merge_size": 1, **_PLAIN}
    pixels = processor(videos=[video], return_tensors="pt", do_resize=False, **extra)["pixel_values_videos"].numpy()
    if pixels.ndim == 2:  # a patch of one pixel: rows run over pixels, columns over channel and time
        return np.stack([pixels[: height * width, 2 * channel][:256] for channel in range(_N_CHANNELS)])
    return np.stack([pixels[0, 0, channel].ravel()[:256] for channel in range(_N_CHANNELS)])


def main() -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for family in PUBLISHED:
        arrays[f"{family}/normalised"] = normalised_values(family, load_processor(family))
    for case in CASES:
        processor = load_processor(case.family)
        values, grid = run(case, processor, do_rescale=False, do_normalize=False)
        final, _ = run(case, processor)
        raw = values.astype(np.uint8)
        assert np.array_equal(raw, values), case.name
        assert np.array_equal(arrays[f"{case.family}/normalised"][channel_of(raw), raw], final), case.name
        arrays[f"{case.name}/pixels"], arrays[f"{case.name}/shape"] = thin(raw), np.array(raw.shape)
        arrays[f"{case.name}/grid"] = grid
    np.savez_compressed(HERE / "goldens.npz", **arrays)
    print(f"{HERE / 'goldens.npz'}: {len(CASES)} clips, {(HERE / 'goldens.npz').stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
