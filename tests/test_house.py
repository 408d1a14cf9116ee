"""The laws of the house: imports go one way, foreign APIs have one home, nothing unwelcome is depended on."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

import hermes_stream

ROOT = Path(hermes_stream.__file__).parent
PROJECT = ROOT.parent.parent
MODULES = sorted(ROOT.rglob("*.py"))

# A room may import itself, the nouns at the bottom (types, errors), and these.
ALLOWED = {
    "video": set(),
    "memory": set(),
    "models": {"memory"},
    "policies": {"memory"},
    "engine": {"memory", "models", "policies"},
    "shapestream": {"video"},
    "bench": {"engine", "memory", "models", "policies", "shapestream", "video"},
    "inspection": {"engine", "memory", "shapestream", "video"},
    "viz": {"inspection", "memory"},
    "evals": {"bench", "engine", "memory", "models", "policies", "shapestream", "video", "viz"},
    "train": {"engine", "memory", "models", "policies", "shapestream", "video"},
    "server": {"engine", "memory", "models", "policies", "shapestream", "video"},
    "integrations": {"engine", "models", "video"},
    "cli": {
        "engine",
        "memory",
        "models",
        "policies",
        "shapestream",
        "video",
        "inspection",
        "viz",
        "evals",
        "train",
        "bench",
        "server",
    },
}
BOTTOM = {"types", "errors", "defaults", "stages", "sealing"}
# Which files may import a foreign package whose API moves.
HOMES = {
    "av": ("video/",),
    "transformers": ("models/", "train/", "engine/decode.py"),
    "cyclopts": ("cli/",),
    "rich": ("cli/",),
    "matplotlib": ("viz/",),
    "fastapi": ("server/",),
    "starlette": ("server/",),
    "uvicorn": ("server/",),
    "prometheus_client": ("server/",),
    "cryptography": ("sealing.py",),
    "fsspec": ("server/fleet/",),
    "ray": ("server/fleet/",),
    "pyarrow": ("evals/annotations.py",),
    "lmms_eval": ("integrations/",),
    "openai": ("evals/judges/endpoint.py",),
}
UNWELCOME = {
    "torchvision", "torchcodec", "decord", "opencv-python", "opencv-python-headless", "gradio", "streamlit",
    "flash-attn", "timm", "qwen-vl-utils", "lmms-eval", "kernels",
}  # fmt: skip


def imported_modules(path: Path) -> set[str]:
    """Every absolute module name that a file imports, at its top or in a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    allowed = ALLOWED.get(room, set()) | BOTTOM | {room}
    for name in imported_modules(path):
        if name == "hermes_stream" or not name.startswith("hermes_stream."):
            assert name != "hermes_stream", "inside the house, import from the room, not from the front door"
            continue
        assert name.split(".")[1] in allowed, f"{room} must not import {name}"


def test_every_room_has_a_rule() -> None:
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_foreign_packages_stay_at_home(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    for name in imported_modules(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or place.startswith(homes), f"{name} belongs to {homes}"


def test_only_the_seam_touches_attention_internals() -> None:
    users = [path.relative_to(ROOT) for path in MODULES if "AttentionInterface" in path.read_text(encoding="utf-8")]
    assert [str(path) for path in users] == ["models/attention_seam.py"]


def test_nobody_asks_which_policy_it_is() -> None:
    """Engine, memory and command line know policies by their methods only."""
    from hermes_stream.policies import POLICIES, WRAPPERS
    from hermes_stream.policies.front_ends import FRONT_ENDS

    classes = {part.__name__ for parts in (POLICIES, WRAPPERS, FRONT_ENDS) for part in parts.values()}
    for path in MODULES:
        if room_of(path) in {"engine", "memory", "cli", "viz", "bench"}:
            names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
            assert not names & classes, path


def test_public_names_exist_and_are_sorted() -> None:
    assert hermes_stream.__all__ == sorted(hermes_stream.__all__)
    assert set(hermes_stream._HOME) == set(hermes_stream.__all__)
    for name in hermes_stream.__all__:
        assert getattr(hermes_stream, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'Hermse'"):
        _ = hermes_stream.Hermse


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from hermes_stream.cli.main import run; status = run(['--help']); "
        "sys.exit(status or ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "shapestream" in done.stdout


def test_nothing_unwelcome_is_installed_or_asked_for() -> None:
    """Each of these breaks the environment in a way that is hard to see; the list says which, not why."""
    installed = {(distribution.metadata["Name"] or "").lower() for distribution in distributions()}
    assert not installed & UNWELCOME
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    wanted = " ".join([*project["dependencies"], *extras])
    assert not [name for name in UNWELCOME if name in wanted]
