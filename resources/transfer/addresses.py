"""Where media may come from: schemes, hosts and addresses.

A presigned URL is text from an API's answer, and the archive may run where internal services listen. So the host is checked by
name before anything is asked, and the *address* at the moment of connection, when DNS can no longer change its mind, for every
hop.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from resources.errors import RefusedError, Subject

HOSTS_SETTING = "MEDIA_ALLOWED_HOSTS"
PRIVATE_SETTING = "MEDIA_ALLOW_PRIVATE"
_SECURE = "https"
_PLAIN = "http"

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Older releases of Python, or all of them, call these global (``is_global``), and they are not the public internet, or lead
# somewhere else than their own bits say.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's platform service, reachable from every virtual machine there
        "192.0.0.0/24",  # protocol assignments (RFC 6890); 192.0.0.192 is a cloud's metadata service
        "192.88.99.0/24",  # the withdrawn 6to4 relay anycast (RFC 7526)
        "fec0::/10",  # site-local, deprecated and still routed in places (RFC 3879)
        "64:ff9b:1::/48",  # local-use NAT64 (RFC 8215): where the IPv4 address stands in it is the network's own choice
        "2001::/23",  # Teredo and other protocol assignments (RFC 2928)
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # the well-known prefix, RFC 6052
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, deprecated
_LOW_32_BITS = 0xFFFFFFFF

# Parsers disagree about URLs with other characters than these; such a host is never a media host.
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\]")
_ODD = re.compile(r"[\x00-\x20\x7f\\]")


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address may lead to."""
    found = [address.ipv4_mapped, address.sixtofour]
    if address.teredo is not None:
        found.extend(address.teredo)
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(address) & _LOW_32_BITS))
    return [each for each in found if each is not None]


def is_public(address: IPAddress) -> bool:
    """Say whether an address, and every address that it wraps, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = _embedded(address)
        if wrapped and not all(is_public(each) for each in wrapped):
            return False
        if address.ipv4_mapped is not None:
            return True
        if address in _NAT64:  # the well-known prefix is public exactly when what it wraps is
            return True
    # is_global leaves out private, loopback, link-local (169.254.169.254), CGNAT 100.64/10, documentation and unspecified.
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address in network for network in _REFUSED_NETWORKS)


def _parts(subject: Subject, url: str) -> tuple[SplitResult, str]:
    """Return the parts of ``url`` and its host in lower case, without brackets.

    Raises:
        RefusedError: it is not a plain URL.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise RefusedError(subject, "the media URL cannot be parsed") from None
    authority = parts.netloc.lower()
    bare = re.sub(r":\d*$", "", authority)
    if _ODD.search(url) or "@" in authority or not _HOST.fullmatch(bare):
        raise RefusedError(subject, "the media URL has an odd host, a user name, a space or a backslash")
    return parts, host.rstrip(".")


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What the settings allow.

    Attributes:
        allowed_hosts: exact names, or ``*.suffix`` / ``.suffix`` for every name below; empty allows any public host.
        allow_private: allows addresses inside the network and, because those rarely have certificates, plain ``http``.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False

    def check_url(self, subject: Subject, url: str) -> str:
        """Check scheme and host before anything is asked; return the host.

        Raises:
            RefusedError: with the host and the setting that would allow it, without path and query.
        """
        parts, host = _parts(subject, url)
        scheme = parts.scheme.lower()
        if scheme != _SECURE and not (scheme == _PLAIN and self.allow_private):
            also = f" ({PRIVATE_SETTING}=true allows http)" if scheme == _PLAIN else ""
            raise RefusedError(subject, f"media from {host} by {scheme or 'no scheme'}: only https is allowed{also}")
        if not self._names(host):
            raise RefusedError(subject, f"the media host {host} is not in {HOSTS_SETTING}; add it if it is right")
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            return host  # a name, or an odd spelling of an address: libcurl resolves it, and the address is checked then
        self.check_ip(subject, host, literal)
        return host

    def _names(self, host: str) -> bool:
        if not self.allowed_hosts:
            return True
        for entry in self.allowed_hosts:
            name = entry.lower().rstrip(".")
            if name.startswith(("*.", ".")):
                if host.endswith(name.removeprefix("*")):
                    return True
            elif host == name.strip("[]"):
                return True
        return False

    def check_ip(self, subject: Subject, host: str, address: IPAddress) -> None:
        """Check the address that is about to be connected to.

        Raises:
            RefusedError: it is private, loopback, link-local, shared, multicast, reserved, or wraps such a one.
        """
        if not self.allow_private and not is_public(address):
            raise RefusedError(
                subject,
                f"the media host {host} is at {address}, which is not a public address; "
                f"{PRIVATE_SETTING}=true allows it if this is your own network",
            )
