"""The API's description tells the truth, and needs nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hermes_stream.server.app import make_app
from hermes_stream.server.reference import describe, operations, to_html
from hermes_stream.server.settings import ServerSettings

from .conftest import RunningServer


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(make_app(ServerSettings(), {}))


def test_every_operation_has_a_known_tag_and_a_description(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        assert len(set(operation.get("tags", ())) & tags) == 1, (method, path)
        assert operation.get("description"), (method, path)


def test_errors_are_described_as_they_are(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        assert "422" not in operation["responses"]
        schema = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}
    assert set(document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]) == {
        "message", "type", "code", "param",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/sessions/{session_id}/ask", "/v1/chat/completions"])
def test_what_answers_either_way_says_so(document: dict[str, Any], path: str) -> None:
    answers = document["paths"][path]["post"]["responses"]["200"]["content"]
    assert set(answers) == {"application/json", "text/event-stream"}


@pytest.mark.parametrize("address", ["journal?after={}", "alerts/a/hits/{}/picture"])
def test_a_number_beyond_all_numbers_is_refused(server: RunningServer, session: str, address: str) -> None:
    told = server.http.get(f"/v1/sessions/{session}/{address.format(2**63)}")
    assert told.status_code == 400
    assert str(2**63) in told.json()["error"]["message"]


def test_every_reference_in_it_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert "Error" in found
    assert found <= set(document["components"]["schemas"])


def test_keys_are_declared_but_where_none_is_needed(document: dict[str, Any]) -> None:
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    open_to_all = {path for path, _, operation in operations(document) if operation.get("security") == []}
    assert open_to_all == {"/health", "/ready"}


def test_the_page_lists_every_operation_and_loads_nothing(document: dict[str, Any]) -> None:
    page = to_html(document)
    for path, method, _ in operations(document):
        assert f"<dt>{method.upper()} {path}</dt>" in page
    assert not re.search(r"<script|<link|<img|src=|url\(|https?:", page)
