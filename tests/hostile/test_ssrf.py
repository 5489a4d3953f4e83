"""No URL leads the archive to an address inside: not a link, not a redirect, not a name, not the rest of a broken transfer.

Each table goes through the whole way, from the provider's link to the ledger, over real connections. Listeners inside count who
connects; beside each hostile row lies a good recording, which has to be archived.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.recordings.lifecycle import Outcome
from resources.errors import Subject
from resources.transfer import AddressPolicy
from resources.transfer.addresses import IPAddress, is_public
from tests.hostile.internet import SECRET, Inside, Internet, archived, inside, names, sockets, told
from tests.transfer.conftest import media
from tests.transfer.server import MediaServer, answer, running_server

PATH = f"/private-path?X-Amz-Signature={SECRET}"
GOOD = "the-good-one"

SCHEMES = (
    "http://127.0.0.2:{port}", "HTTP://127.0.0.2:{port}", "file:///etc/hostname", "file://127.0.0.2:{port}", "ftp://127.0.0.2:{port}",
    "ftps://127.0.0.2:{port}", "sftp://127.0.0.2:{port}", "scp://127.0.0.2:{port}", "gopher://127.0.0.2:{port}/_GET",
    "dict://127.0.0.2:{port}", "telnet://127.0.0.2:{port}", "tftp://127.0.0.2:{port}", "ldap://127.0.0.2:{port}",
    "smb://127.0.0.2:{port}", "smtp://127.0.0.2:{port}", "imap://127.0.0.2:{port}", "pop3://127.0.0.2:{port}",
    "rtsp://127.0.0.2:{port}", "mqtt://127.0.0.2:{port}", "ws://127.0.0.2:{port}", "wss://127.0.0.2:{port}",
    "data:audio/mpeg;base64,SUQz", "javascript:alert(1)", "jar:https://127.0.0.2:{port}!/x", "s3://127.0.0.2:{port}",
    "//127.0.0.2:{port}", "127.0.0.2:{port}", "https:127.0.0.2:{port}", "https:/127.0.0.2:{port}", "https:///127.0.0.2:{port}",
    "https:////127.0.0.2:{port}", "", "view-source:https://127.0.0.2:{port}", "https+unix://%2Frun%2Fdocker.sock",
)  # fmt: skip
SPELLINGS = (
    "127.0.0.2:{port}", "127.2:{port}", "127.0.2:{port}", "2130706434:{port}", "0x7f000002:{port}", "0x7f.0.0.2:{port}",
    "0X7F.0X0.0X0.0X2:{port}", "0177.0.0.2:{port}", "017700000002:{port}", "00000177.00.00.02:{port}", "0x7f.0.2:{port}",
    "127.0.0.2.:{port}", "127.0.0.1:{port1}", "127.1:{port1}", "2130706433:{port1}", "0177.0.0.1:{port1}", "0x7f000001:{port1}",
    "localhost:{port1}", "LOCALHOST:{port1}", "localhost.:{port1}", "lOcAlHoSt:{port1}", "0:{port1}", "0.0.0.0:{port1}",
    "00.0.0.0:{port1}", "[::]:{port6}", "[::1]:{port6}", "[0:0:0:0:0:0:0:1]:{port6}", "[0000::0001]:{port6}",
    "[::ffff:127.0.0.2]:{port}",
    "[::ffff:7f00:2]:{port}", "[::ffff:127.0.0.1]:{port1}", "[::127.0.0.1]:{port1}", "[::ffff:0:127.0.0.1]:{port1}",
    "[64:ff9b::7f00:1]:{port1}", "[64:ff9b:1::7f00:1]:{port1}", "[2002:7f00:1::]:{port1}", "[2001:0:7f00:1::]:{port1}",
    "[::1%25lo]:{port6}", "[::1%lo]:{port6}", "[fe80::1%25lo]:{port6}", "[fe80::1%251]:{port6}",
)  # fmt: skip
TRICKS = (
    "good.example@127.0.0.2:{port}", "good.example:443@127.0.0.2:{port}", "good.example%40127.0.0.2:{port}", "@127.0.0.2:{port}",
    "127.0.0.2:{port}@good.example", "good.example\\@127.0.0.2:{port}", "127.0.0.2:{port}\\@good.example",
    "127.0.0.2:{port}\\.good.example",
    "good.example\\.127.0.0.2:{port}", "127.0.0.2:{port}#@good.example",
    "127.0.0.2:{port}?@good.example", "127.0.0.2:{port};@good.example", "127.0.0.2%00.good.example:{port}",
    "127.0.0.2\x00.good.example:{port}", "127.0.0.2%0d%0aHost:%20x:{port}", "127.0.0.2\t:{port}", "127.0.0.2\n:{port}",
    "127.0.0.2\r\n:{port}", " 127.0.0.2:{port}", "127.0.0.2 :{port}", "127.0.0.2%20:{port}", "%31%32%37.0.0.2:{port}",
    "127%2e0%2e0%2e2:{port}", "１２７.0.0.2:{port}", "127。0。0。2:{port}", "127．0．0．2:{port}", "①②⑦.0.0.2:{port}",
    "ⓛocalhost:{port1}", "loc\u00adalhost:{port1}", "\u202e2.0.0.721:{port}", "localhost\u200b:{port1}", "127.0.0.2:+{port}",
    "127.0.0.2:-1", "127.0.0.2:65536", "127.0.0.2:0x50", "[127.0.0.2]:{port}", "[::1:{port6}", "::1:{port6}", "[::1]{port6}",
    "[v1.127.0.0.2]:{port}", "[]:{port}", "127.0.0.2:{port}:{port}", "user:secret@[::1]:{port6}", "\ud800.127.0.0.2:{port}",
)  # fmt: skip
PLACES = (
    "169.254.169.254", "169.254.170.2", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]", "[fd00:ec2::23]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "169.254.1.1", "[fe80::a9fe:a9fe]",
    "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.0.1", "100.64.0.1", "100.127.255.254", "192.0.2.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "[ff02::1]", "[fc00::1]",
    "[fec0::1]", "[2001:db8::1]", "[3fff::1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1:a9fe:a9:fe00::]", "[2002:a9fe:a9fe::]",
    "[5f00::1]",
    "[100::1]", "192.88.99.1",
)  # fmt: skip
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture
def listeners() -> Iterator[Inside]:
    """Listeners that nobody may reach."""
    with inside() as running:
        for server in running.servers:
            server.scripts["/private-path"] = answer(media(1000))
        yield running


@pytest.fixture
def outside() -> Iterator[MediaServer]:
    """A host of the public internet, with one good recording."""
    with running_server() as running:
        running.scripts["/good"] = answer(media(1000))
        yield running


def assert_refused(ended: dict[str, object], name: str) -> None:
    """Assert that an outcome is ``refused``, in words that hold no path and no query."""
    assert ended["outcome"] == Outcome.REFUSED.value, (name, ended)
    text = str(ended["detail"])
    assert text
    for word in ("private-path", SECRET, "X-Amz", "?"):
        assert word not in text, (name, text)


@pytest.mark.parametrize("kind", ["schemes", "spellings", "tricks", "places"])
def test_no_link_leads_inside(tmp_path: Path, listeners: Inside, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Under the default settings each link is refused before libcurl is given a socket, with a reason that hides the link."""
    hosts = {"spellings": SPELLINGS, "tricks": TRICKS, "places": PLACES}.get(kind)
    templates = SCHEMES if hosts is None else tuple(f"https://{host}" for host in hosts)
    links = {f"row-{number}": [listeners.fill(template) + PATH] for number, template in enumerate(templates)}
    with sockets(monkeypatch) as made:
        _, events = archived(tmp_path, links, AddressPolicy())
    for name, urls in links.items():
        assert_refused(told(events[name]), urls[0])
    assert len(events) == len(links)
    assert made == []
    assert listeners.connections == 0


def test_the_listeners_would_notice(tmp_path: Path, listeners: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """With private addresses allowed, the same spellings do connect: what counts them works, and each was worth refusing."""
    hosts = ("127.0.0.2:{port}", "127.2:{port}", "2130706434:{port}", "0x7f.0.0.2:{port}", "0177.0.0.2:{port}", "[::1]:{port6}")
    links = {f"row-{number}": [listeners.fill(f"http://{host}{PATH}")] for number, host in enumerate(hosts)}
    with sockets(monkeypatch) as made:
        _, events = archived(tmp_path, links, AddressPolicy(allow_private=True))
    assert {event.outcome for event in events.values()} == {Outcome.ARCHIVED}
    assert len(made) == listeners.connections > 0


class _Blind(AddressPolicy):
    """Looks at the first URL as it should, and at no address: what a check before the connection alone would be worth."""

    def check_ip(self, subject: Subject, host: str, address: IPAddress) -> None:
        """Let everything pass."""


def test_without_the_check_at_connection_each_way_leads_inside(
    tmp_path: Path, listeners: Inside, outside: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect, a name and the rest of a broken transfer do connect where the address is not looked at: the tables bite."""
    port = listeners.servers[0].port
    outside.scripts["/redirect"] = answer(status=307, headers={"Location": listeners.fill("http://127.0.0.2:{port}") + PATH})
    outside.scripts["/cut"] = answer(media(300_000), cut=200_000, headers={"ETag": '"v1"'})
    links = {
        "redirect": [outside.url("/redirect")],
        "name": [f"http://h.example:{port}{PATH}"],
        "rest": [outside.url("/cut"), listeners.fill("http://127.0.0.2:{port}") + PATH],
    }
    with names(monkeypatch, {f"h.example:{port}": ["127.0.0.2"]}):
        for number, (name, urls) in enumerate(links.items(), start=1):
            archived(tmp_path / name, {name: urls}, _Blind(allow_private=True))
            assert listeners.servers[0].connections == number, name


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("hops", [1, 3])
def test_no_redirect_leads_inside(
    tmp_path: Path, listeners: Inside, outside: MediaServer, monkeypatch: pytest.MonkeyPatch, status: int, hops: int
) -> None:
    """Each target is refused at whichever hop it comes, whatever the status; the good recording beside them is archived."""
    targets = [template for template in SCHEMES if "://" in template or template.startswith(("data:", "javascript:"))]
    targets += [f"http://{host}" for host in (*SPELLINGS, *PLACES)]
    targets += [f"http://{host}" for host in TRICKS if not {"\n", "\r", "\x00"} & set(host) and host.isascii()]
    targets += ["//127.0.0.2:{port}", "//2130706434:{port}", "//[::1]:{port6}"]
    # What names 127.0.0.1 is the public internet in this test.
    inward = [target for target in targets if "{port1}" not in target]
    links: dict[str, list[str]] = {GOOD: [outside.url("/good")]}
    for number, template in enumerate(inward):
        for hop in range(1, hops):
            outside.scripts[f"/{number}/{hop}"] = answer(status=status, headers={"Location": f"/{number}/{hop + 1}"})
        location = listeners.fill(template) + PATH
        outside.scripts[f"/{number}/{hops}"] = answer(status=status, headers={"Location": location})
        links[f"row-{number}"] = [outside.url(f"/{number}/1")]
    with sockets(monkeypatch) as made:
        _, events = archived(tmp_path, links, Internet())
    assert events.pop(GOOD).outcome is Outcome.ARCHIVED
    for name, event in events.items():
        assert_refused(told(event), inward[int(name.removeprefix("row-"))])
    assert listeners.connections == 0
    assert len(made) == outside.connections
    assert len(outside.requests) == len(inward) * hops + 1, "each redirect was really followed as far as it may be"


@pytest.mark.parametrize("target", ["http:127.0.0.2:{port}", "/\\127.0.0.2:{port}", "./127.0.0.2:{port}", "?//127.0.0.2:{port}"])
def test_a_relative_redirect_stays_at_its_host(tmp_path: Path, listeners: Inside, outside: MediaServer, target: str) -> None:
    """What only looks like another host is a path of the same one, or refused; nobody inside is asked."""
    outside.scripts["/a"] = answer(status=302, headers={"Location": listeners.fill(target) + PATH})
    _, events = archived(tmp_path, {"x": [outside.url("/a")], GOOD: [outside.url("/good")]}, Internet())
    assert listeners.connections == 0
    assert events["x"].outcome is not Outcome.ARCHIVED
    assert events[GOOD].outcome is Outcome.ARCHIVED


def test_a_secure_link_is_not_led_to_plain_http(tmp_path: Path, listeners: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the default settings plain http is refused at every hop: the next test's resolver shows the name was never asked."""
    with sockets(monkeypatch) as made:
        _, events = archived(tmp_path, {"x": [listeners.fill("http://media.example:{port}") + PATH]}, AddressPolicy())
    assert_refused(told(events["x"]), "http")
    assert "only https" in str(events["x"].detail)
    assert made == []


ADDRESSES = [host.strip("[]") for host in PLACES if not host.startswith(("2852", "0x", "0251"))] + [
    "127.0.0.1",
    "0.0.0.0",
    "::1",
    "::",
]


def test_no_name_leads_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is on the list, and that the DNS says is inside, is refused when libcurl asks for a socket."""
    assert not any(is_public(ipaddress.ip_address(address)) for address in ADDRESSES)
    hosts = {f"h{number}.media.example": address for number, address in enumerate(ADDRESSES)}
    answers = {f"{host}:443": [f"[{address}]" if ":" in address else address] for host, address in hosts.items()}
    links = {host: [f"https://{host}{PATH}"] for host in hosts}
    with names(monkeypatch, answers), sockets(monkeypatch) as made:
        _, events = archived(tmp_path, links, AddressPolicy(("*.media.example",)))
    for host, event in events.items():
        assert_refused(told(event), host)
        assert str(ipaddress.ip_address(hosts[host])) in str(event.detail), "the reason names the address that the DNS gave"
    assert made == []


def test_a_host_off_the_list_is_not_even_looked_up(tmp_path: Path, listeners: Inside, outside: MediaServer) -> None:
    """With a list of hosts, an allowed one cannot redirect to one that is not on it, public or not."""
    inner = listeners.fill("http://127.0.0.2:{port}")
    for number, target in enumerate(("https://evil.invalid", inner, "//evil.invalid", "http://127.0.0.1.evil.invalid")):
        outside.scripts[f"/{number}"] = answer(status=302, headers={"Location": target + PATH})
    links = {f"row-{number}": [outside.url(f"/{number}")] for number in range(4)} | {GOOD: [outside.url("/good")]}
    _, events = archived(tmp_path, links, AddressPolicy(("127.0.0.1",), allow_private=True))
    assert events.pop(GOOD).outcome is Outcome.ARCHIVED
    for event in events.values():
        assert_refused(told(event), "off the list")
        assert "MEDIA_ALLOWED_HOSTS" in str(event.detail)
    assert listeners.connections == 0


def test_a_name_that_changes_its_answer(tmp_path: Path, listeners: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was public when it was first asked and is inside the next time is refused then: no check outlives a connection.

    The first hop is answered by the public address, which closes the connection; its redirect names the same host and port.
    """
    port = listeners.servers[0].port
    with running_server(port=port) as first:
        first.scripts["/a"] = answer(
            status=302, headers={"Location": f"http://rebind.example:{port}{PATH}", "Connection": "close"}
        )
        links = {"x": [f"http://rebind.example:{port}/a?X-Amz-Signature={SECRET}"]}
        with names(monkeypatch, {f"rebind.example:{port}": ["127.0.0.1", "127.0.0.2"]}):
            _, events = archived(tmp_path, links, Internet())
        assert first.connections == 1
    assert_refused(told(events["x"]), "rebinding")
    assert listeners.connections == 0


def test_a_name_with_several_answers(tmp_path: Path, listeners: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name has an address inside and one outside, only the one outside is connected to."""
    port = listeners.servers[0].port
    with running_server(port=port) as first:
        first.scripts["/private-path"] = answer(media(1000))
        links = {f"x{number}": [f"http://{name}.example:{port}{PATH}"] for number, name in enumerate(("one", "two"))}
        answers = {f"one.example:{port}": ["127.0.0.2,127.0.0.1"], f"two.example:{port}": ["127.0.0.1,127.0.0.2"]}
        with names(monkeypatch, answers):
            _, events = archived(tmp_path, links, Internet())
        assert {event.outcome for event in events.values()} == {Outcome.ARCHIVED}
        assert first.connections >= 1
    assert listeners.connections == 0


def test_a_kept_connection_serves_no_other_host(tmp_path: Path, listeners: Inside, outside: MediaServer) -> None:
    """After good transfers, whose connections are kept, the same clients still refuse every other host and address."""
    good = {f"good-{number}": [outside.url("/good")] for number in range(8)}
    bad = {f"late-{number}": [listeners.fill(f"http://{host}") + PATH] for number, host in enumerate(SPELLINGS[:11])}
    _, events = archived(tmp_path, good | bad, Internet())
    assert all(events[name].outcome is Outcome.ARCHIVED for name in good)
    for name in bad:
        assert_refused(told(events[name]), name)
    assert outside.connections <= 4, "connections were kept"
    assert listeners.connections == 0


@pytest.mark.parametrize("by", ["link", "redirect"])
def test_the_rest_of_a_broken_transfer_is_not_fetched_inside(
    tmp_path: Path, listeners: Inside, outside: MediaServer, by: str
) -> None:
    """When a body breaks, the fresh link for the rest is checked like the first one; nothing is published."""
    body = media(300_000)
    outside.scripts["/cut"] = answer(body, cut=200_000, headers={"ETag": '"v1"'})
    outside.scripts["/on"] = answer(status=307, headers={"Location": listeners.fill("http://127.0.0.2:{port}") + PATH})
    fresh = outside.url("/on") if by == "redirect" else listeners.fill("http://127.0.0.2:{port}") + PATH
    _, events = archived(tmp_path, {"x": [outside.url("/cut"), fresh], GOOD: [outside.url("/good")]}, Internet())
    assert_refused(told(events["x"]), by)
    assert events[GOOD].outcome is Outcome.ARCHIVED
    assert listeners.connections == 0
    assert [path.parent.name for path in (tmp_path / "recordings").rglob("main.mp4")] == [GOOD]


PROXIES = [name for plain in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy") for name in (plain, plain.upper())]


@pytest.mark.parametrize("no_proxy", [None, "", "elsewhere.example"])
def test_no_proxy_and_no_netrc_by_surprise(
    tmp_path: Path, listeners: Inside, outside: MediaServer, monkeypatch: pytest.MonkeyPatch, no_proxy: str | None
) -> None:
    """Proxies of the environment see no link, and a .netrc gives no password to a media host."""
    for name in PROXIES:
        monkeypatch.setenv(name, listeners.fill("http://127.0.0.2:{port}"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        if no_proxy is not None:
            monkeypatch.setenv(name, no_proxy)
    home = tmp_path / "home"
    home.mkdir()
    for name in (".netrc", "_netrc"):
        (home / name).write_text(f"machine 127.0.0.1 login bob password {SECRET}\ndefault login bob password {SECRET}\n")
        (home / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    _, events = archived(tmp_path / "archive", {GOOD: [outside.url("/good")]}, Internet())
    assert events[GOOD].outcome is Outcome.ARCHIVED
    assert listeners.connections == 0
    assert [request.headers.keys() & {"authorization", "cookie", "proxy-authorization"} for request in outside.requests] == [
        set()
    ]


def test_no_header_leads_the_next_request_elsewhere(tmp_path: Path, listeners: Inside, outside: MediaServer) -> None:
    """Alt-Svc, HSTS, Refresh, cookies and the like are heard from a media host and change nothing."""
    inner = listeners.fill("127.0.0.2:{port}")
    outside.scripts["/good"] = answer(
        media(1000),
        headers={
            "Alt-Svc": f'h2="{inner}"; ma=9999, h3="{inner}"; ma=9999, http/1.1="{inner}"; ma=9999; persist=1',
            "Strict-Transport-Security": "max-age=99999999; includeSubDomains",
            "Refresh": f"0; url=http://{inner}/x",
            "Content-Location": f"http://{inner}/x",
            "Link": f"<http://{inner}/x>; rel=preload",
            "Set-Cookie": f"a={SECRET}; Domain=127.0.0.1",
            "Location": f"http://{inner}/x",
            "HTTP/1.1 307": f"http://{inner}/x",
        },
    )
    links = {f"good-{number}": [outside.url("/good")] for number in range(12)}
    _, events = archived(tmp_path, links, Internet())
    assert {event.outcome for event in events.values()} == {Outcome.ARCHIVED}
    assert listeners.connections == 0
    assert not any("cookie" in request.headers for request in outside.requests)


def test_only_http_is_spoken(tmp_path: Path, outside: MediaServer, capfd: pytest.CaptureFixture[str]) -> None:
    """Bytes without a status line (HTTP/0.9), and answers that only look like one, are never recordings, and print nothing."""
    heads = (
        b"",
        b"HTTP/0.9\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 two\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n",
    )
    for number, head in enumerate(heads):

        def script(connection: object, _: object, head: bytes = head) -> None:
            connection.sendall(head + media(1000))  # type: ignore[attr-defined]
            connection.shutdown(2)  # type: ignore[attr-defined]

        outside.scripts[f"/{number}"] = script
    links = {f"row-{number}": [outside.url(f"/{number}")] for number in range(len(heads))} | {GOOD: [outside.url("/good")]}
    _, events = archived(tmp_path, links, Internet())
    assert events.pop(GOOD).outcome is Outcome.ARCHIVED
    assert {event.outcome for event in events.values()} <= {Outcome.REFUSED, Outcome.TRANSIENT, Outcome.NOT_MEDIA}
    assert "Traceback" not in capfd.readouterr().err
