"""Ids of every kind, through the whole way: a provider's answer, the lake, the ledger, a path, the catalog, the terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.catalog.publication import publish
from assets.executions.ingest import ingest
from assets.recordings.archiving import archive_day
from assets.recordings.discovery import discover
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from assets.recordings.names import RECORDINGS, manifest_path, partition, recording_path, safe_id
from pipelines.cli.output import print_table, printable
from pipelines.cli.query import ask
from resources.archive import Archive
from resources.clock import REAL_RUNTIME
from resources.model import Leg
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from resources.storage import open_storage
from resources.storage.paths import MAX_SEGMENT_BYTES, checked_path
from tests.providers.server import Canned, StubServer, json_answer
from tests.transfer.conftest import media
from tests.transfer.server import MediaServer, answer, running_server

DAY = date(2026, 11, 20)
_NEVER_ASKED = (
    "\x00",
    "a\x00b",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[31m",
    "line\nbreak",
    "a\rb",
    "\x85",
    "x" * 10_000,
    ".",
    "..",
    "\t",
)
_ASKED = (
    "good", "GOOD", "Good", "../../etc/passwd", "..%2f..%2fetc", "%2e%2e", "%2e", "/", "//", "\\", "C:\\x", "a/b", "a\\b",
    "./a", "~",
    "~root", "con", "CON", "aux.x", "Aux.X~", "nul", "com1", "lpt9.txt", "con.", "a.", "a ", " a", "x" * 300, ".hidden", ".tmp",
    "-rf", "--", "*", "?", "a?b=c#d", "a:b", "a|b", "<script>alert(1)</script>", "'; DROP TABLE recordings; --",
    '" OR 1=1 --', "$(id)",
    "`id`", "${HOME}", "%s%n", "{0}", "=cmd|'/c calc'!A0", "+1", "@SUM(1)", "[/bold]", "[red]", "[link=http://x]y[/link]", "![x](http://x)",
    "\u202etxt.exe", "a\u200fb", "a\u200bb", "\ufeffa", "é", "e\u0301", "ﬁ", "fi", "ß", "ss", "K", "\u212a", "İ", "😀",
    "👩‍👩‍👧", "日本", "＜", "．．",
    "null", "None", "true", "0", "-1", "1e3", "NaN", "provider=x", "date=2026-11-20", "main.mp4", "manifest-sha256.txt",
)  # fmt: skip
IDS = (*_ASKED, *_NEVER_ASKED)
_ANY_ID = st.one_of(
    st.text(min_size=1, max_size=400), st.sampled_from(IDS), st.text(alphabet="aA.~_-/\\:\u0301é\x00 ", min_size=1, max_size=8)
)


def _twins(name: str) -> set[str]:
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    return {
        name,
        *forms,
        name.lower(),
        name.upper(),
        name.casefold(),
        name.swapcase(),
        name.strip(),
        f"{name} ",
        f"{name}.",
        f"{name}\x00",
    }


@given(_ANY_ID, _ANY_ID)
def test_two_ids_never_share_a_path(one: str, two: str) -> None:
    """Not where case is ignored, not where Unicode is normalised either way, not where trailing dots and blanks are dropped."""
    ids = sorted(_twins(one) | _twins(two) - {""})
    segments = [safe_id(name) for name in ids if name]
    for folded in (
        [segment.casefold() for segment in segments],
        [unicodedata.normalize("NFD", segment).upper() for segment in segments],
        [unicodedata.normalize("NFKC", segment).lower().rstrip(". ") for segment in segments],
    ):
        assert len(set(folded)) == len(segments)


@given(_ANY_ID | st.text(alphabet=st.characters(codec=None), min_size=1), st.sampled_from(list(Leg)), st.integers(1, 9))
def test_no_path_leaves_its_partition(name: str, leg: Leg, number: int) -> None:
    """Read as a POSIX or a Windows path, a recording lies exactly one folder below its partition, and no device is named."""
    path = checked_path(recording_path("kataven", DAY, name, leg, "mp3", number))
    folder = PurePosixPath(RECORDINGS, *partition("kataven", DAY).split("/"))
    assert PurePosixPath(path).parent.parent == folder
    assert ".." not in PureWindowsPath(path).parts
    assert len(PureWindowsPath(path).parts) == len(PurePosixPath(path).parts)
    assert not PureWindowsPath(safe_id(name)).is_reserved()
    assert re.fullmatch(r"[a-z0-9._~-]+", safe_id(name))
    assert not safe_id(name).startswith(".") or "~" in safe_id(name)
    assert len(safe_id(name)) < MAX_SEGMENT_BYTES


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_from_outside_moves_the_terminal(text: str) -> None:
    """What is printed holds no control character, no mark of direction and nothing that UTF-8 cannot write."""
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert not [
        char for char in shown if char != "\n" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    ]


def test_a_table_shows_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets of an id are no markup, and an escape sequence is shown, not sent."""
    print_table(["[bold]id[/bold]"], [[name] for name in IDS])
    printed = capsys.readouterr().out
    assert "[/bold]" in printed
    assert "[link=http://x]y[/link]" in printed
    assert "\\x1b[2J" in printed
    assert not {"\x1b", "\x00", "\x07", "\r", "\u202e", "\u200f"} & set(printed)


@pytest.fixture(scope="module")
def long_way(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, StubServer]:
    """Take all ids the whole way, in one partition, by a provider whose every recording is good."""
    root = tmp_path_factory.mktemp("ids") / "work" / "archive"
    api = StubServer()
    with running_server() as host:
        archive = _go(api, host, root)
    api.stop()
    return archive, api


def _go(api: StubServer, host: MediaServer, root: Path) -> Archive:
    host.scripts["/media"] = answer(media(1000))
    calls = [
        {"id": name, "createdAt": f"{DAY}T01:00:00Z", "callEndedAt": f"{DAY}T02:00:00Z", "status": "COMPLETED"} for name in IDS
    ]
    calls += [{"id": "\ud800", "createdAt": f"{DAY}T01:00:00Z"}, {"id": "", "createdAt": f"{DAY}T01:00:00Z"}]
    listed = Canned(200, json.dumps({"agentCalls": calls, "pagination": {}}).encode())
    link = json_answer({"url": host.url("/media")})
    api.respond = lambda request: link if request.path.endswith("/recording-url") else listed
    settings = load_settings(
        None, archive_root=str(root), feather_api_key="feather-key-of-the-ids", feather_base_url=api.url, media_allow_private=True
    )
    archive = Archive(settings, open_storage(settings.archive_root), REAL_RUNTIME)
    ledger, now = Ledger(archive.storage), datetime(2026, 11, 21, tzinfo=UTC)
    report = ingest(
        archive.provider("feather"),
        PROVIDERS["feather"],
        archive.storage,
        [DAY],
        now=now,
        before_write=lambda day, expected: (
            discover(ledger, "feather", day, expected, run_id="t", now=now, policy=Policy()) and None
        ),
    )
    assert report.problem_count == 2, report.problems
    archive_day(archive, "feather", DAY, "run-1")
    publish(archive.storage, PROVIDERS.values(), now)
    archive.close()
    return archive


def test_every_id_gets_its_outcome(long_way: tuple[Archive, StubServer]) -> None:
    """Every id is in the lake, the ledger and the catalog, verbatim; each that can be asked for is archived apart."""
    archive, api = long_way
    folder = Path(archive.settings.archive_root)
    events = {key.execution_id: event for key, event in Ledger(archive.storage).read_day("feather", DAY).items()}
    assert set(events) == set(IDS)
    assert {name for name, event in events.items() if event.copy is not None} == set(_ASKED)
    for name in _NEVER_ASKED:
        assert events[name].outcome.value == "unexpected"
        assert "not asked" in str(events[name].detail)
    paths = [str(event.copy.path) for event in events.values() if event.copy is not None]
    assert len({path.casefold() for path in paths}) == len(_ASKED)
    assert all((folder / path).read_bytes() == media(1000) for path in paths)
    _, rows = ask(archive.storage, folder / "archive.duckdb", "SELECT execution_id FROM recordings")
    assert {row[0] for row in rows} == set(IDS)
    asked = [request.path for request in api.requests if request.path.endswith("/recording-url")]
    assert all(path.count("/") == len(["", "api", "v1", "agent-calls", "x", "recording-url"]) - 1 for path in asked)


def test_nothing_is_written_beside_the_archive(long_way: tuple[Archive, StubServer]) -> None:
    """No id left its partition: the work folder holds the archive alone, and the recordings' folder one folder for each id."""
    folder = Path(long_way[0].settings.archive_root)
    assert [path.name for path in folder.parent.iterdir()] == ["archive"]
    made = list((folder / RECORDINGS / partition("feather", DAY)).iterdir())
    assert len(made) == len(_ASKED)
    assert all(path.is_dir() and not path.is_symlink() for path in made)


def test_a_manifest_stands_every_id(long_way: tuple[Archive, StubServer]) -> None:
    """Each line is a digest and a plain path, so ``sha256sum -c`` reads it."""
    archive, _ = long_way
    lines = archive.storage.read(manifest_path("feather", DAY)).decode().splitlines()
    assert len(lines) >= 2 * len(_ASKED)
    assert all(re.fullmatch(r"[0-9a-f]{64} [ *][A-Za-z0-9._~=/-]+", line) for line in lines)
