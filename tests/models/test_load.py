"""Checkpoints that cannot be loaded say so in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hermes_stream.errors import ModelError
from hermes_stream.models.load import bundled_models, load_adapter
from tests.tiny import save_checkpoint, save_llava_onevision


def edit_config(folder: Path, **text: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(text)
    (folder / "config.json").write_text(json.dumps(config))


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_preprocessor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def no_mean(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 4, "width": 4}}')


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50_000])


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def other_family(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "gpt2"}')


def other_shape(folder: Path) -> None:
    edit_config(folder, intermediate_size=64)


def no_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    shards = {"a": "model-00001.safetensors", "b": "model-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def broken_preprocessor(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")


def list_of_settings(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("[1]")


def setting(name: str, value: object, *, file: str = "preprocessor_config.json") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, name: value}))

    return change


def half_the_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".layers.3.mlp" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def dynamic_rope(folder: Path) -> None:
    edit_config(folder, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0})


def sliding_layers(folder: Path) -> None:
    edit_config(folder, layer_types=["sliding_attention"] * 12, sliding_window=8, use_sliding_window=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_config, "no config.json"),
        (no_preprocessor, "no preprocessor_config.json"),
        (no_mean, "lacks image_mean, image_std"),
        (no_weights, "no model.safetensors and no model.safetensors.index.json"),
        (cut_weights, "model.safetensors is not whole"),
        (no_shard, "names model-00002.safetensors, which is missing"),
        (no_tokenizer, "no tokenizer.json"),
        (broken_preprocessor, "not readable as JSON"),
        (list_of_settings, "holds a list, expected a JSON object"),
        (broken_config, "cannot read the checkpoint's config"),
        (other_family, "no adapter for 'gpt2'; supported: llava_onevision"),
        (setting("size", {"height": 48, "width": 48}), "frames of 48 x 48 pixels, the model 40 x 40"),
        (setting("resample", 7), "asks for resampling 7"),
        (setting("image_mean", 3), "has a value that it cannot have"),
        (setting("fps", "often", file="hermes_stream.json"), "has a value that it cannot have"),
        (other_shape, "layers.0.mlp.down_proj.weight has the shape [64, 96], the config asks for [64, 64]"),
        (half_the_weights, "the weights lack"),
        (dynamic_rope, "rope type 'dynamic'"),
        (sliding_layers, "sliding_attention"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(
    tmp_path: Path, llava_folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(llava_folder, folder)
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_adapter(str(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("change", [("patch_size", 8), ("merge_size", 4), ("temporal_patch_size", 1)])
def test_patches_of_another_model_are_refused(tmp_path: Path, family: str, change: tuple[str, int]) -> None:
    folder = save_checkpoint(family, tmp_path / family)
    setting(*change, file="video_preprocessor_config.json")(folder)
    with pytest.raises(ModelError, match=r"in the preprocessor file, in the model \(4, 2, 2\); take"):
        load_adapter(str(folder))


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(ModelError, match="did you mean tiny-llava-onevision"):
        load_adapter("tiny-lava-onevision")
    with pytest.raises(ModelError, match="sees no CUDA device"):
        load_adapter(device="cuda")
    with pytest.raises(ModelError, match="unknown dtype 'bfloat'; did you mean bfloat16"):
        load_adapter(dtype="bfloat")


def test_bundled_models_load_and_are_small() -> None:
    folders = bundled_models()
    assert "tiny-llava-onevision" in folders
    n_bytes = sum(path.stat().st_size for folder in folders.values() for path in folder.rglob("*"))
    assert n_bytes < 42 * 2**20
    for name in folders:
        facts = load_adapter(name).facts
        assert facts.n_layers >= 10
        assert facts.dtype == torch.float32


@pytest.mark.parametrize("rope", [{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}])
def test_scaled_positions_give_the_stock_models_logits(tmp_path: Path, rope: dict[str, object]) -> None:
    """YaRN multiplies its tables by a factor, which zero positions apply once and true positions must not again."""
    from hermes_stream import KeepAll
    from tests.engine.direct import open_direct, question_logits, watch_direct
    from tests.oracles.stock_llava import StockLlava
    from tests.tiny import make_frames

    folder = save_llava_onevision(tmp_path / "yarn", rope_parameters={"rope_theta": 10000.0, **rope})
    adapter = load_adapter(str(folder))
    frames = make_frames(7)
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, 2)
    expected = StockLlava(folder).logits(adapter._preprocess(frames), "Which colour?")  # type: ignore[attr-defined]
    torch.testing.assert_close(question_logits(stream, "Which colour?"), expected, atol=1e-4, rtol=0)
