"""`data:` addresses, against encoders of the standard library."""

from __future__ import annotations

import base64
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.errors import SourceError
from hermes_stream.server.openai_api.data_uri import data_of, is_data_uri

KINDS = st.sampled_from(["", "video/mp4", "text/plain;charset=utf-8"])


@given(st.binary(max_size=50), KINDS, st.sampled_from([";base64", ";BASE64"]))
def test_base64_is_read_whatever_stands_before_it(data: bytes, kind: str, marker: str) -> None:
    assert data_of(f"data:{kind}{marker},{base64.b64encode(data).decode()}") == data


@given(st.binary(max_size=50), KINDS)
def test_without_base64_percent_signs_are_read(data: bytes, kind: str) -> None:
    assert data_of(f"DATA:{kind},{quote_from_bytes(data)}") == data


def test_lines_may_be_broken() -> None:
    data = bytes(range(200))
    assert data_of("data:;base64," + base64.encodebytes(data).decode()) == data


@pytest.mark.parametrize("uri", ["data:", "data:;base64", "data:;base64,===", "data:;base64,a", "data:;base64,ab*c"])
def test_what_is_none_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(SourceError, match="data:") as caught:
        data_of(uri)
    assert "\n" not in str(caught.value)


def test_other_addresses_are_told_apart() -> None:
    assert [is_data_uri(url) for url in ("data:,x", "Data:,x", "http://data:80/", "/data:,x", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip
