"""Pages of a provider that are too large, too deep, not JSON, or packed: the good executions beside a bad one are kept."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.executions.ingest import ingest
from assets.executions.lake import read_partition
from resources.errors import RecordingError, TransientError, UnexpectedAnswerError
from resources.model import Leg
from resources.providers.pages import item_spans
from resources.providers.registry import PROVIDERS
from resources.storage import open_storage
from tests.hostile.memory import run_limited
from tests.providers.conftest import Make
from tests.providers.server import Canned, StubServer
from tests.providers.world import ASTEROID, DAY, FEATHER, READING_CASES, Case, FakeClock, collect

CREATED = "2026-11-20T10:00:00Z"
DEEP = 10_000


def _item(name: str, **more: object) -> dict[str, Any]:
    return {"id": name, "createdAt": CREATED, "status": "completed"} | more


def page_of(case: Case, *items: str | dict[str, Any]) -> bytes:
    """Return a provider's page around items, which may be any text."""
    inside = ",".join(item if isinstance(item, str) else json.dumps(item) for item in items)
    if case is ASTEROID:
        return f'{{"page":1,"pageSize":100,"items":[{inside}],"total":{len(items)}}}'.encode()
    return f'{{"agentCalls":[{inside}],"pagination":{{"nextCursor":null}}}}'.encode()


BAD_ITEMS = {
    "deep lists": f'{{"id":"b","createdAt":"{CREATED}","x":' + "[" * DEEP + "]" * DEEP + "}",
    "deep objects": f'{{"id":"b","createdAt":"{CREATED}","x":' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
    "deep in every field": "{" + ",".join(f'"{key}":' + "[" * DEEP + "]" * DEEP for key in ("id", "createdAt", "status")) + "}",
    "a list of nothing but lists": "[" * DEEP + "]" * DEEP,
    "NaN": f'{{"id":"b","createdAt":"{CREATED}","x":NaN}}',
    "infinity": f'{{"id":"b","createdAt":"{CREATED}","x":[-Infinity]}}',
    "a control character": f'{{"id":"b","createdAt":"{CREATED}","x":"a\x01b"}}',
    "a number beyond all types": f'{{"id":"b","createdAt":"{CREATED}","x":{"9" * 5000}}}',
    "an exponent beyond all types": f'{{"id":"b","createdAt":"{CREATED}","x":1e999999}}',
    "a lone surrogate": f'{{"id":"b","createdAt":"{CREATED}","x":"\\ud800"}}',
    "the same key twice": f'{{"id":"a2","id":"b","createdAt":"{CREATED}","x":1,"x":2}}',
    "a bad escape": f'{{"id":"b","createdAt":"{CREATED}","x":"\\q"}}',
    "single quotes": "{'id':'b'}",
    "a bare word": "undefined",
    "brackets in strings": f'{{"id":"b","createdAt":"{CREATED}","x":"]}},{{[\\"]}}\\\\"}}',
}
KEPT = {"NaN", "infinity", "a control character", "a lone surrogate", "the same key twice", "brackets in strings"}
"""Bad items whose id and time can be read all the same: their rows are kept."""


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("what", list(BAD_ITEMS))
def test_a_bad_item_stops_no_other(make: Make, server: StubServer, case: Case, what: str) -> None:
    """The items before and after it come through; it is a row of its own, or a problem with its place."""
    server.script(Canned(200, page_of(case, _item("a"), BAD_ITEMS[what], _item("c"))))
    ids, problems = collect(make(case).find(DAY))
    assert {"a", "c"} <= set(ids)
    assert ("b" in ids) == (what in KEPT) or what.endswith("all types")
    assert "b" in ids or any("item 2" in problem for problem in problems)


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_all_bad_items_at_once_reach_the_lake(make: Make, server: StubServer, case: Case, tmp_path: Path) -> None:
    """A day of nothing but bad items around one good one is written, with each row that has an id, and its raw text."""
    bad = [text.replace('"b"', f'"b{number}"') for number, text in enumerate(BAD_ITEMS.values())]
    server.script(Canned(200, page_of(case, *bad, _item("good"), *bad)))
    storage = open_storage(str(tmp_path / "archive"))
    day, spec = DAY.start.date(), PROVIDERS[case.name]
    report = ingest(make(case), spec, storage, [day], now=datetime(2026, 11, 21, tzinfo=UTC), before_write=lambda *_: None)
    assert report.error is None
    rows = {row["execution_id"]: row for row in read_partition(storage, spec, day).to_pylist()}
    assert "good" in rows
    assert len(rows) >= len(KEPT) + 1
    assert report.problem_count >= len(BAD_ITEMS) - len(KEPT)
    assert "NaN" in rows[f"b{list(BAD_ITEMS).index('NaN')}"]["_raw"]


TYPES = ("null", "true", "0", "-1", "1.5", "1e308", '""', '"x"', '"2026-01-01T00:00:00Z"', "[]", "[null]",
         '[[["x"]]]', "{}", '{"id":[]}',
         '{"": {"": ""}}', '"' + "x" * 100_000 + '"', "9" * 19, "-" + "9" * 30, '"\\u0000"', '"\\u202e"',
         '"<script>"')  # fmt: skip


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_every_type_in_every_field(make: Make, server: StubServer, case: Case, tmp_path: Path) -> None:
    """A value of each kind in each field, unknown ones too, costs no row and stops nothing."""
    spec = PROVIDERS[case.name]
    fields = [field.name for field in spec.fields if field.name not in {"id", "createdAt"}] + ["unknown"]
    items = [
        f'{{"id":"{field}-{number}","createdAt":"{CREATED}","{field}":{value}}}'
        for field in fields
        for number, value in enumerate(TYPES)
    ]
    server.script(Canned(200, page_of(case, *items)))
    storage = open_storage(str(tmp_path / "archive"))
    report = ingest(
        make(case), spec, storage, [DAY.start.date()], now=datetime(2026, 11, 21, tzinfo=UTC), before_write=lambda *_: None
    )
    assert report.error is None
    table = read_partition(storage, spec, DAY.start.date())
    assert set(table["execution_id"].to_pylist()) == {f"{field}-{number}" for field in fields for number in range(len(TYPES))}


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"items":', b'{"items":[}', b'{"items":{}}', b'{"items":"x","agentCalls":1}', b"[" * 100_000,
     b"{" * 100_000, b'{"a":' * 50_000, b"\xff\xfe{\x00}\x00", b"<html>", b"\x00" * 1000, b'{"items":[],"agentCalls":[]',
     b"PK\x03\x04", b'"' * 99_999],
)  # fmt: skip
def test_a_body_that_is_no_page(make: Make, server: StubServer, case: Case, body: bytes) -> None:
    """It is outside of the contract, said with the setting to look at; nothing is taken for an empty list."""
    server.script(Canned(200, body))
    with pytest.raises(UnexpectedAnswerError, match=f"{case.name.upper()}_BASE_URL"):
        list(make(case).find(DAY))


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_a_byte_order_mark_is_no_fault(make: Make, server: StubServer, case: Case) -> None:
    """What some servers write before their JSON is passed over."""
    server.script(Canned(200, b"\xef\xbb\xbf" + page_of(case, _item("a"))))
    assert collect(make(case).find(DAY)) == (["a"], [])


def _deflated(size: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(b" " * 1_000_000) for _ in range(size // 1_000_000)), packer.flush()])


BOMBS: dict[str, Callable[[], tuple[dict[str, str], bytes]]] = {
    "gzip": lambda: ({"Content-Encoding": "gzip"}, _deflated(600_000_000)),
    "100 MB of JSON": lambda: ({}, page_of(FEATHER, *[json.dumps(_item("a", x="y" * 1_000_000))] * 100)),
}


@pytest.mark.parametrize("what", list(BOMBS))
def test_a_bomb_is_refused_in_bounded_memory(server: StubServer, what: str) -> None:
    """Six hundred megabytes in a few of gzip, and a page of 100 MB are refused with a reason; the process stays small.

    The client runs in a process that may hold 400 MiB more than its imports; 64 MiB of answer are allowed.
    """
    headers, body = BOMBS[what]()
    server.script(Canned(200, body, headers))
    program = f"""
from resources.clock import REAL_RUNTIME
from resources.errors import UnexpectedAnswerError
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from tests.providers.world import DAY
settings = load_settings(None, feather_api_key='feather-key-0123456789', feather_base_url={server.url!r}, transient_retries=0)
feather = PROVIDERS['feather'].build(settings, REAL_RUNTIME)
limit()
try:
    list(feather.find(DAY))
except UnexpectedAnswerError as error:
    print(error)
"""
    said = run_limited(program, 400)
    assert "larger than 64 MiB" in said


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_a_broken_page_keeps_what_came_before(make: Make, server: StubServer, case: Case, tmp_path: Path) -> None:
    """Where a later page cannot be taken, the executions of the earlier ones are in the lake, and the error is told."""
    first = page_of(case, *[_item(f"a{number}") for number in range(100)]).replace(b'"total":100', b'"total":300')
    first = first.replace(b'"nextCursor":null', b'"nextCursor":"next"')
    server.script(Canned(200, first), Canned(200, b"[" * 100_000))
    storage = open_storage(str(tmp_path / "archive"))
    spec = PROVIDERS[case.name]
    report = ingest(
        make(case), spec, storage, [DAY.start.date()], now=datetime(2026, 11, 21, tzinfo=UTC), before_write=lambda *_: None
    )
    assert isinstance(report.error, UnexpectedAnswerError)
    assert read_partition(storage, spec, DAY.start.date()).num_rows == 100


def test_items_are_found_without_recursion() -> None:
    """The list's items lie between its commas, whatever brackets and quotes they hold; a list at another depth is none."""
    body = b'{"x":{"items":[9]},"y":"items","items": [ {"a":[1,2]} , "],[" ,\n3, [[],[]] ],"items":[8]}'
    assert [body[start:end].strip() for start, end in item_spans(body, "items")] == [b'{"a":[1,2]}', b'"],["', b"3", b"[[],[]]"]
    assert item_spans(b'{"items":{"a":[1]}}', "items") == []
    assert item_spans(b'{"items":[1,2', "items") == []
    assert item_spans(b'{"items":[]}', "items") == []


RAW_ANSWERS = {
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X-Y: " + b"z" * 200_000,
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(50_000)),
    "a header twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{} {}\r\n0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "a huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
    "no status": b"{}",
    "a status of words": b"HTTP/1.1 OK\r\n\r\n{}",
    "a NUL in a header": b"HTTP/1.1 307 X\r\nLocation: https://a\x00.example/x\r\nContent-Length: 0\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}",
    "a hundred hints": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000 + b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("what", list(RAW_ANSWERS))
def test_an_answer_that_is_no_http_is_one_error(case: Case, tmp_path: Path, clock: FakeClock, what: str) -> None:
    """Whatever the bytes of an answer, a question for a link ends in an error of our own, whose text shows nothing of them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(RAW_ANSWERS[what])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        provider = case.build(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, clock, transient_retries=0)
        try:
            with pytest.raises(RecordingError) as caught:
                provider.link("e1", Leg.MAIN)
        finally:
            provider.close()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
    assert "\x00" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_headers_that_drip_end(case: Case, tmp_path: Path, clock: FakeClock) -> None:
    """A header that comes a byte a minute is given up after ANSWER_MAX_SECONDS, though no single read is late."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                    while True:
                        clock.seconds += 60
                        connection.sendall(b"y")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        provider = case.build(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, clock, transient_retries=0)
        with pytest.raises(TransientError, match="ReadTimeout"):
            provider.link("e1", Leg.MAIN)
        provider.close()
        thread.join(timeout=5)
