"""Which addresses a server may connect to: against the blocks of IANA's registries of special purposes, by hand."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.server.pull import networks
from hermes_stream.server.pull.networks import Forbidden, Networks

# Blocks that are not globally reachable, and multicast.
CLOSED = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32", "100::/64",
]  # fmt: skip
OPEN = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.32.0.1", "192.169.0.1", "2606:4700:4700::1111", "2a00:1450::1"]


def within(block: str) -> st.SearchStrategy[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    network = ipaddress.ip_network(block)
    return st.integers(0, network.num_addresses - 1).map(lambda index: network[index])


@given(address=st.one_of([within(block) for block in CLOSED]))
def test_what_is_not_public_is_closed(address: ipaddress.IPv4Address) -> None:
    assert not Networks().allows(address)


@pytest.mark.parametrize("address", OPEN)
def test_what_is_public_is_open(address: str) -> None:
    assert Networks().allows(ipaddress.ip_address(address))


def written_in_ipv6(inner: int) -> list[ipaddress.IPv6Address]:
    """All ways to write an IPv4 address as one of IPv6 that leads there: mapped, compatible, NAT64, 6to4, Teredo."""
    numbers = [
        (0xFFFF << 32) | inner,
        inner,
        (0x64FF9B << 96) | inner,
        (0x2002 << 112) | (inner << 80),
        (0x20010000 << 96) | (inner ^ 0xFFFFFFFF),
    ]
    return [ipaddress.IPv6Address(number) for number in numbers]


@given(inner=st.one_of([within(block) for block in [*CLOSED[:13], "1.0.0.0/9", "93.0.0.0/8"]]))
def test_an_ipv4_address_is_judged_however_it_is_written(inner: ipaddress.IPv4Address) -> None:
    is_open = Networks().allows(inner)
    for address in written_in_ipv6(int(inner)):
        assert Networks().allows(address) == is_open, address


@given(inner=within("10.20.0.0/16"))
def test_allowed_networks_are_open(inner: ipaddress.IPv4Address) -> None:
    allowed = Networks(["10.20.0.0/16", "::1/128"])
    assert allowed.allows(inner)
    assert allowed.allows(ipaddress.ip_address("::1"))
    assert not allowed.allows(ipaddress.ip_address("10.21.0.1"))
    assert not allowed.allows(ipaddress.ip_address("127.0.0.1"))


def answering(*addresses: str) -> networks.Resolve:
    def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


def test_one_closed_address_among_open_ones_closes_a_name() -> None:
    with pytest.raises(Forbidden, match=r"^two\.example is not at a public address; its operator can let the server"):
        Networks(resolve=answering("1.1.1.1", "10.0.0.7")).addresses("two.example", 80)


def test_where_a_closed_name_leads_is_not_told() -> None:
    with pytest.raises(Forbidden) as caught:
        Networks(resolve=answering("10.0.0.7")).connect("inside.example", 80, 1)
    assert "10.0.0.7" not in str(caught.value)


def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]])
    allowed = Networks(["127.0.0.1/32"], lambda host, port: next(answers))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with allowed.connect("changing.example", port, 1) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
        with pytest.raises(Forbidden):
            allowed.connect("changing.example", port, 1)


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        allowed = Networks(["127.0.0.0/8"], answering("127.0.0.3", "127.0.0.2"))
        with allowed.connect("both.example", port, 1) as connection:
            assert connection.getpeername()[0] == "127.0.0.2"


def test_who_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionError, match=f"127.0.0.1 port {port} does not answer .Connection refused.; check"):
        Networks(["127.0.0.1/32"]).connect("127.0.0.1", port, 1)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example", "a..b"])
def test_a_name_that_is_none_is_named(host: str) -> None:
    with pytest.raises(ConnectionError, match=r"cannot be found; check its name"):
        Networks().addresses(host, 80)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost", "::ffff:127.0.0.1"])
def test_other_ways_to_write_this_machine_are_closed(host: str) -> None:
    with pytest.raises(Forbidden):
        Networks().addresses(host, 80)


def test_a_resolver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: time.sleep(0.5) or [])
    started = time.monotonic()
    with pytest.raises(ConnectionError, match="cannot be found"):
        Networks().addresses("slow.example", 80)
    assert time.monotonic() - started < 0.4
