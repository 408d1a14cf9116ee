"""What lies in `deploy/`, as far as it can be checked without its engines: it parses, and names only what there is."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from packaging.requirements import Requirement
from prometheus_client.parser import text_string_to_metric_families

from hermes_stream.server.config_file import read_settings
from hermes_stream.server.settings import Limits, ServerSettings

from .conftest import RunningServer, run_command

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
_STATE = "/var/lib/hermes-stream"


def parsed(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def board() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/hermes-stream.json").read_text())
    return value


def queries() -> list[tuple[str, str]]:
    """Every query of the board, with its legend."""
    return [(target["expr"], target["legendFormat"]) for panel in board()["panels"] for target in panel["targets"]]


def exposed(text: str) -> set[str]:
    """The names under which samples of a scrape may come."""
    names = set()
    for family in text_string_to_metric_families(text):
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names.update(family.name + ending for ending in endings)
    return names


def test_every_query_of_the_board_names_what_a_server_exposes(server: RunningServer) -> None:
    httpx2.post(f"{server.address}/v1/sessions", json={}).raise_for_status()
    text = httpx2.get(f"{server.address}/metrics").text
    asked = {name for query, _ in queries() for name in re.findall(r"\b(?:hermes_stream|process)_\w+", query)}
    assert len(asked) > 20
    assert asked <= exposed(text)


def test_every_metric_of_ours_is_on_the_board(server: RunningServer) -> None:
    names = {name for name in exposed(httpx2.get(f"{server.address}/metrics").text) if name.startswith("hermes_stream")}
    asked = " ".join(query for query, _ in queries())
    on_none = {name for name in names if not re.search(rf"\b{name}\b", asked)}
    assert {name for name in on_none if not name.endswith(("_sum", "_count"))} == {
        "hermes_stream_session_time_seconds", "hermes_stream_session_waiting_frames",
    }  # fmt: skip


def test_every_label_that_a_legend_shows_is_in_its_query_or_metric(server: RunningServer) -> None:
    httpx2.post(f"{server.address}/v1/sessions", json={}).raise_for_status()
    families = list(text_string_to_metric_families(httpx2.get(f"{server.address}/metrics").text))
    labels = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    for query, legend in queries():
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        kept = re.search(r"\bby \(([^)]*)\)", query)
        (metric,) = re.findall(r"\b(?:hermes_stream|process)_\w+", query)
        known = set(kept[1].replace(" ", "").split(",")) if kept else labels.get(metric, set())
        assert shown <= known, query


def test_the_board_fits_the_provisioned_source() -> None:
    (source,) = parsed("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    for panel in board()["panels"]:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
    places = [tuple(panel["gridPos"].values()) for panel in board()["panels"]]
    assert len(set(places)) == len(places)


def test_compose_names_only_what_there_is() -> None:
    compose = parsed("compose.yaml")
    assert {"server", "prometheus", "grafana"} == set(compose["services"])
    for name, service in compose["services"].items():
        for mount in service["volumes"]:
            place = mount.split(":")[0]
            assert (DEPLOY / place).exists() if place.startswith(".") else place in compose["volumes"], name
        assert set(service["secrets"]) <= set(compose["secrets"])
        # Reachable from this machine only.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert set(parsed("compose.cuda.yaml")["services"]) == {"server"}


def test_prometheus_scrapes_the_server_with_a_key_that_compose_hands_it() -> None:
    (job,) = parsed("prometheus.yml")["scrape_configs"]
    compose = parsed("compose.yaml")["services"]
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    assert job["authorization"]["credentials_file"].removeprefix("/run/secrets/") in compose["prometheus"]["secrets"]
    (provider,) = parsed("grafana/provisioning/dashboards/hermes-stream.yaml")["providers"]
    assert any(f":{provider['options']['path']}:" in mount for mount in compose["grafana"]["volumes"])


@pytest.mark.parametrize("name", ["compose.yaml", "Dockerfile"])
def test_images_are_named_without_a_registry(name: str) -> None:
    images = re.findall(r"^\s*(?:image:|FROM) *(\S+)", (DEPLOY / name).read_text(), re.MULTILINE)
    assert images
    assert not [image for image in images if "." in image.split("/")[0].split(":")[0] or image.endswith(":latest")]


def commands() -> dict[str, list[str]]:
    """The options with which each way of deployment starts the server."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / "hermes-stream.service").read_text())
    starting = re.search(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert starting is not None
    return {
        "unit": shlex.split(unit["Service"]["ExecStart"])[1:],
        "Dockerfile": json.loads(starting[1]),
        "compose": parsed("compose.yaml")["services"]["server"]["command"],
    }


def test_every_option_exists_and_state_lies_where_it_may_be_written() -> None:
    known = run_command("serve", "--help").stdout
    for where, words in commands().items():
        assert words[0] == "serve", where
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options, where
        assert not [option for option in options if not re.search(rf"{option}\b", known)], where
        assert f"{_STATE}/state" in " ".join(words), where


def test_the_example_of_a_configuration_is_the_defaults_and_complete() -> None:
    file = DEPLOY / "server.toml"
    assert read_settings(file, {}, {}) == ServerSettings()
    values = tomllib.loads(file.read_text())
    # What has no default that could be written down.
    left_out = {"state_dir", "shared", "api_key_file", "encryption_key_file", "api_keys", "encryption_key"}
    assert set(values) == set(ServerSettings.model_fields) - left_out
    assert set(values["limits"]) == set(Limits.model_fields) - {"idle_seconds"}


def constrained() -> dict[str, str]:
    """Version by name, of everything in the image."""
    lines = (DEPLOY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_pins_cover_what_the_server_is_installed_with_and_satisfy_it() -> None:
    pins = constrained()
    assert sorted(pins) == list(pins)
    for text in requires("hermes-stream") or ():
        wanted = Requirement(text)
        if wanted.marker is None or any(
            wanted.marker.evaluate({"extra": extra}) for extra in ("server", "encryption", "large")
        ):
            assert wanted.specifier.contains(pins[wanted.name.lower()]), text


def test_what_the_image_is_built_from_is_there_and_not_left_out() -> None:
    taken = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in taken for source in line.split()]
    allowed = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"]
    assert "src" in sources
    for source in sources:
        assert (PROJECT / source).exists()
        assert source in allowed


def test_the_image_runs_as_nobody_in_particular_and_is_asked_how_it_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    user, health = re.search(r"^USER (\d+)", text, re.MULTILINE), re.search(r"CMD (\[.*health.*\])", text)
    assert user is not None
    assert int(user[1]) > 0
    assert health is not None
    compile(json.loads(health[1])[2], "healthcheck", "exec")


def locked() -> dict[str, str]:
    """Version by name, of what the image installs by hash."""
    text = (DEPLOY / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", text, re.MULTILINE))


def test_everything_in_the_image_but_torch_is_pinned_by_hash() -> None:
    text = (DEPLOY / "requirements.lock").read_text()
    entries = re.split(r"(?m)^(?=\S)", text)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert len(entries) == len(locked())
    assert {**locked(), "torch": constrained()["torch"]} == constrained()


def test_the_bill_of_materials_names_what_is_locked_with_licences() -> None:
    bill = json.loads((DEPLOY / "sbom.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    listed = {each["name"].lower().replace("_", "-"): each for each in bill["components"]}
    assert {name: listed[name]["version"] for name in locked()} == locked()
    assert listed["torch"]["version"].split("+")[0] == constrained()["torch"]
    licences = (PROJECT / "docs/licences.md").read_text().lower()
    assert not [name for name in locked() if name not in licences.replace("_", "-")]
