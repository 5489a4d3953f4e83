"""A provider's key goes to the host of its base URL, and nowhere else, whatever that host answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.errors import ArchiveError, RecordingError, SettingsError
from resources.model import Leg
from resources.providers.protocol import Provider
from tests.hostile.test_ssrf import PROXIES
from tests.providers.conftest import Make
from tests.providers.server import Canned, StubServer, json_answer
from tests.providers.world import DAY, Case, FakeClock

BASE_URLS = (
    "https://{host}@evil.example", "https://@{host}", "https://:@{host}", "https://:pw@{host}", "https://{host}\\@evil.example",
    "https://{host}\\.evil.example", "https://{host}?", "https://{host}#", "https://{host}/v1?", "https://{host}/v1#x",
    "https://{host}/v1?x=", "https://{host}/../v1", "https://{host}/v1/..", "https://{host}/./v1", "https://{host}%2f@evil.example",
    "https://{host}%00.evil.example", "https://{host} .evil.example", "https://{host}\t.evil.example", "https://{host}\n.evil.example",
    "https://ｅｖｉｌ.example", "https://127。0。0。1", "https:{host}", "https:/{host}", "https:///{host}", "//{host}", "{host}",
    "file:///etc/passwd", "ftp://{host}", "ws://{host}", "httpx://{host}", "https://[::1", "https://::1", "https://[::1%25lo]",
    "https://{host}:80:80", "https://{host}:0", "https://{host}/v1 x", "https://{host}/<x>", "simplecache::https://{host}",
    "https://%65vil.example", "https://evil.example;{host}", "https://[127.0.0.1]",
)  # fmt: skip


def _ask_everything(provider: Provider) -> None:
    for ask in (lambda: provider.link("e1", Leg.MAIN), lambda: provider.get("e1"), lambda: list(provider.find(DAY))):
        try:
            ask()
        except (RecordingError, ArchiveError):
            continue


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_no_redirect_of_an_api_is_followed(
    make: Make, server: StubServer, other_server: StubServer, case: Case, status: int
) -> None:
    """Whatever an API's redirect says, the other host is not asked: the key would go along."""
    server.script(Canned(status, b"", {"Location": f"{other_server.url}/x", "Refresh": f"0; url={other_server.url}"}))
    _ask_everything(make(case))
    assert server.requests
    assert other_server.requests == []


def test_no_link_and_no_cursor_of_an_answer_is_asked_with_the_key(
    make: Make, server: StubServer, other_server: StubServer, case: Case
) -> None:
    """URLs in an answer (a next page, a recording) are never asked by the client that has the key."""
    link = f"{other_server.url}/x"
    body = {
        "url": link,
        "next": link,
        "items": [],
        "total": 300,
        "pageSize": 1,
        "agentCalls": [],
        "pagination": {"nextCursor": link},
    }
    headers = {"Link": f'<{link}>; rel="next"', "Content-Location": link, "Alt-Svc": f'h2="{link[7:]}"; ma=999'}
    server.script(Canned(200, json_answer(body).body, {"Content-Type": "application/json"} | headers))
    _ask_everything(make(case))
    assert server.requests
    assert other_server.requests == []


def test_no_id_leads_away(make: Make, server: StubServer, other_server: StubServer, case: Case) -> None:
    """An id that looks like a URL, a path or a header stays one segment of the path."""
    host = other_server.url.removeprefix("http://")
    ids = (
        f"//{host}/x",
        f"http://{host}/x",
        f"@{host}/",
        f"\\\\{host}",
        "../../other",
        "a?b#c",
        "a%2f..%2f..",
        f".{host}",
        "a;b@c",
    )
    server.script(Canned(500))
    provider = make(case, transient_retries=0)
    for name in ids:
        for ask in (provider.link, lambda execution_id, _leg: provider.get(execution_id)):
            try:
                ask(name, Leg.MAIN)
            except (RecordingError, ArchiveError):
                continue
    assert other_server.requests == []
    depth = case.link_path.count("/")
    assert server.requests
    assert all(request.path.count("/") <= depth and ".." not in request.path.split("/") for request in server.requests)


@pytest.mark.parametrize("url", BASE_URLS)
def test_a_base_url_that_parsers_could_differ_about_is_refused(make: Make, server: StubServer, case: Case, url: str) -> None:
    """A base URL that is not plain is a wrong setting, named without its value, and nothing is asked."""
    host = server.url.removeprefix("http://")
    with pytest.raises(SettingsError, match=f"{case.name.upper()}_BASE_URL") as caught:
        make(case, **{f"{case.name}_base_url": url.format(host=host)})
    assert host not in str(caught.value)
    assert server.requests == []


def test_no_proxy_of_the_environment_sees_a_key(
    make: Make, server: StubServer, other_server: StubServer, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies in any spelling and a .netrc are left out of account by the API clients."""
    for name in PROXIES:
        monkeypatch.setenv(name, other_server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login bob password c0ffee\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server.route({case.link_path: case.good_link})
    assert make(case).link("e1", Leg.MAIN).url
    assert other_server.requests == []
    assert "basic" not in str(server.requests[0].headers).lower()


def test_cookies_are_not_kept(make: Make, server: StubServer, case: Case, clock: FakeClock) -> None:
    """What one answer sets is not sent with the next question: an API is asked with its key and nothing else."""
    del clock
    server.script(Canned(500, b"", {"Set-Cookie": "session=c0ffee; Path=/"}))
    provider = make(case, transient_retries=0)
    _ask_everything(provider)
    _ask_everything(provider)
    assert not any("cookie" in request.headers for request in server.requests)
