"""Where media may come from, by scheme, host and address, at every hop."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import RefusedError, Subject
from resources.model import Link
from resources.transfer import AddressPolicy, MediaClient
from resources.transfer.addresses import IPAddress, is_public
from tests.transfer.conftest import LIMITS, NOW, SUBJECT, media
from tests.transfer.server import SECRET_QUERY, MediaServer, answer, running_server

_PRIVATE = [
    "0.0.0.1", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3", "168.63.129.16", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.7", "224.0.0.1",
    "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fc00::1",
    "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2001:0:7f00:1::",
]  # fmt: skip
_PUBLIC = ["8.8.8.8", "52.216.0.1", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450::1"]


@pytest.mark.parametrize("address", _PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    """Private, loopback, link-local, metadata, shared, multicast, reserved, and IPv6 that wraps such a one."""
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(RefusedError, match="MEDIA_ALLOW_PRIVATE"):
        AddressPolicy().check_ip(SUBJECT, "host", ipaddress.ip_address(address))
    AddressPolicy(allow_private=True).check_ip(SUBJECT, "host", ipaddress.ip_address(address))


@pytest.mark.parametrize("address", _PUBLIC)
def test_addresses_that_are_public(address: str) -> None:
    """Ordinary addresses pass, those behind NAT64 too."""
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_never_frees_it(address: ipaddress.IPv4Address) -> None:
    """No spelling of a refused IPv4 address in IPv6 is allowed."""
    number = int(address)
    wrapped = [
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address(number),
    ]
    if not is_public(address):
        assert not any(is_public(each) for each in wrapped)


@pytest.mark.parametrize(
    ("entry", "host", "allowed"),
    [
        ("media.example.com", "media.example.com", True),
        ("media.example.com", "MEDIA.example.COM.", True),
        ("media.example.com", "x.media.example.com", False),
        ("media.example.com", "media.example.com.evil.org", False),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        (".example.com", "a.example.com", True),
        (".example.com", "notexample.com", False),
    ],
)
def test_the_host_list(entry: str, host: str, allowed: bool) -> None:
    """Entries are exact names, or suffixes at a dot."""
    policy = AddressPolicy(("other.example.net", entry))
    if allowed:
        policy.check_url(SUBJECT, f"https://{host}/x?{SECRET_QUERY}")
    else:
        with pytest.raises(RefusedError, match="MEDIA_ALLOWED_HOSTS"):
            policy.check_url(SUBJECT, f"https://{host}/x?{SECRET_QUERY}")


@pytest.mark.parametrize(
    "url",
    [
        "http://media.example.com/x", "ftp://media.example.com/x", "file:///etc/passwd", "gopher://h/x", "javascript:alert(1)",
        "", "//media.example.com/x", "https:///x", "https://user@media.example.com/x", "https://media.example.com\\@evil.org/x",
        "https://evil.org\\.media.example.com/x", "https://media.example.com:bad/x", "https://media.example.com:99999/x",
        "https://media example.com/x", "https://media.example.com\t/x", "https://med\u0131a.example.com/x", "https://%6dedia.com/x",
        "https://[::1/x", "https://127.0.0.1/x", "https://[::1]/x", "https://[::ffff:7f00:1]:8443/x",
    ],
)  # fmt: skip
def test_urls_that_are_refused_before_anything_is_asked(url: str) -> None:
    """Other schemes, user names, odd hosts and private literals go nowhere."""
    with pytest.raises(RefusedError):
        AddressPolicy().check_url(SUBJECT, url)


def test_http_needs_the_private_setting() -> None:
    """Plain http is for one's own network only, and the message says which setting allows it."""
    with pytest.raises(RefusedError, match="MEDIA_ALLOW_PRIVATE"):
        AddressPolicy().check_url(SUBJECT, "http://media.example.com/x")
    assert AddressPolicy(allow_private=True).check_url(SUBJECT, "http://media.example.com/x") == "media.example.com"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "localhost",
     "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0"],
)  # fmt: skip
def test_no_spelling_of_loopback_is_connected_to(server: MediaServer, host: str) -> None:
    """Whatever libcurl or the resolver make of the host, the address is refused before a connection."""
    client = MediaClient(AddressPolicy(), LIMITS, now=lambda: NOW)
    with pytest.raises(RefusedError) as caught:
        client.fetch(SUBJECT, Link(f"https://{host}:{server.port}/a?{SECRET_QUERY}", None))
    assert "MEDIA_ALLOW_PRIVATE" in caught.value.detail
    assert "X-Amz" not in str(caught.value)
    assert server.connections == 0
    client.close()


@dataclass(frozen=True)
class _OnlyTheFirst(AddressPolicy):
    """Takes 127.0.0.1 for a public address, and judges all others as always."""

    def check_ip(self, subject: Subject, host: str, address: IPAddress) -> None:
        if address != ipaddress.ip_address("127.0.0.1"):
            AddressPolicy().check_ip(subject, host, address)


@pytest.fixture
def inner() -> Iterator[MediaServer]:
    """A server at an address that nobody may be led to."""
    with running_server("127.0.0.2") as running:
        running.scripts["/secret"] = answer(media(100))
        yield running


@pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "0x7f.2", "[::ffff:127.0.0.2]"])
@pytest.mark.parametrize("hops", [1, 2])
def test_a_redirect_to_a_private_address_is_refused(server: MediaServer, inner: MediaServer, host: str, hops: int) -> None:
    """A public host cannot lead the archive into the network, at any hop, and nothing connects."""
    client = MediaClient(_OnlyTheFirst(allow_private=True), LIMITS, now=lambda: NOW)
    server.scripts["/a"] = answer(status=302, headers={"Location": "/b" if hops == 2 else inner.url("/secret", host=host)})
    server.scripts["/b"] = answer(status=302, headers={"Location": inner.url("/secret", host=host)})
    with pytest.raises(RefusedError, match="not a public address"):
        client.fetch(SUBJECT, Link(server.url("/a"), None))
    assert inner.connections == 0
    assert len(server.requests) == hops
    client.close()


def test_a_redirect_to_a_host_off_the_list_is_refused(server: MediaServer, inner: MediaServer) -> None:
    """The host list counts at every hop."""
    client = MediaClient(AddressPolicy(("127.0.0.1",), allow_private=True), LIMITS, now=lambda: NOW)
    server.scripts["/a"] = answer(status=302, headers={"Location": inner.url("/secret")})
    with pytest.raises(RefusedError, match="MEDIA_ALLOWED_HOSTS"):
        client.fetch(SUBJECT, Link(server.url("/a"), None))
    assert inner.connections == 0
    client.close()


def test_the_environments_proxies_see_nothing(server: MediaServer, inner: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not asked: it would see the link."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.2:{inner.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = MediaClient(AddressPolicy(allow_private=True), LIMITS, now=lambda: NOW)
    server.scripts["/a"] = answer(media(100))
    with client.fetch(SUBJECT, Link(server.url("/a"), None)) as got:
        assert list(got.chunks())
    assert inner.connections == 0
    assert server.connections == 1
    client.close()
