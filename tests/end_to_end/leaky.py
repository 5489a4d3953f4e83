"""A provider and a media host that tell their callers' secrets in everything they say.

Each answer, whatever its status, holds a presigned URL, a key and a password in its status line, headers and body: what
is logged, kept or shown of an answer without redaction is a leak. An execution's id says how its recording is answered:
``link-409``, ``media-503``, ``body-html``.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

from tests.transfer.conftest import media

QUERY = "X-Amz-Signature=canary-signature-of-a-provider&token=canary-token-of-a-provider&X-Amz-Credential=canary-credential"
CANARIES = ("canary-signature-of-a-provider", "canary-token-of-a-provider", "canary-credential", "canary-password-of-a-url")
_WORDS = f"see https://bob:canary-password-of-a-url@media.invalid/a?{QUERY} and s3://b/k?{QUERY} or /k?{QUERY}"


def bodies(signed: str) -> dict[str, tuple[dict[str, str], bytes]]:
    """Return bodies that are no recordings, with headers; ``signed`` is the presigned URL that they quote."""
    text = f"{_WORDS} {signed}"
    return {
        "html": ({"Content-Type": f"text/html; u={signed}"}, f"<html><a href='{signed}'>{text}</a></html>".encode() * 20),
        "json": ({"Content-Type": "application/json"}, json.dumps({"url": signed, "error": {"message": text}}).encode() * 20),
        "xml": (
            {"Content-Type": "application/xml"},
            f"<Error><Code>X</Code><Key>{signed}</Key><M>{text}</M></Error>".encode() * 20,
        ),
        "svg": ({"Content-Type": "image/svg+xml"}, f"<svg xmlns='x'><image href='{signed}'/></svg>".encode() * 20),
        "text": ({"Content-Type": "text/plain"}, text.encode() * 20),
        "gzip": ({"Content-Encoding": f"gzip; {signed}"}, gzip.compress(text.encode() * 20)),
        "coded": ({"Transfer-Encoding": f"x-{QUERY}"}, text.encode()),
        "tiny": ({}, signed[:20].encode()),
        "empty": ({}, b""),
        "polyglot": (
            {"ETag": f'"{signed}"', "Last-Modified": signed},
            b"ID3\x04\0\0\0\0\0\0" + f"<html>{text}</html>".encode() * 20,
        ),
        "etag": ({"ETag": f'"{QUERY}"', "Last-Modified": QUERY, "Content-Type": QUERY}, media(5000)),
    }


@dataclass
class Leaky:
    """The server.

    Attributes:
        ids: the executions that the lists hold.
        list_answers: by provider; none for the good list, otherwise its status, or the bytes that come with 200.
        link_status: overrides the ids for every link.
        hit: (what was asked for, the status that was answered), once each.
    """

    origin: str
    day: str
    ids: Sequence[str] = ()
    list_answers: dict[str, int | bytes] = field(default_factory=dict[str, int | bytes])
    link_status: int | None = None
    hit: set[tuple[str, int]] = field(default_factory=set)

    def execution(self, name: str) -> dict[str, Any]:
        """Return an execution with a secret in every field that there is, and in some that there are not."""
        keys = (
            "agentName",
            "workflowName",
            "metadata",
            "inputs",
            "comments",
            "transcript",
            "summary",
            "variables",
            "recordingUrl",
        )
        keys += (
            "browserRecordingUrl",
            "liveViewUrl",
            "platformUrl",
            "executionResult",
            "triggerContext",
            "customer",
            "unknown_field",
        )
        shapes: tuple[Callable[[str], object], ...] = (
            str, lambda url: [url], lambda url: {"a": {"b": [url]}}, lambda url: {url: url}, lambda url: json.dumps({"u": url}),
            lambda url: f"see {url} now", lambda url: url.replace("&", "&amp;"), lambda url: url.replace("/", "\\/"),
        )  # fmt: skip
        url = f"https://bob:canary-password-of-a-url@media.invalid/{name}?{QUERY}"
        number = sum(map(ord, name))
        facts = {key: shapes[(number + place) % len(shapes)](url) for place, key in enumerate(keys)}
        times = dict.fromkeys(("createdAt", "startedAt", "terminalAt", "callStartedAt", "callEndedAt"), f"{self.day}T01:00:00Z")
        return {**facts, **times, "id": name, "status": "completed", url: 1}

    def answer(self, path: str, key: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        parts = [part for part in path.split("/") if part]
        signed = f"{self.origin}/media/{{}}?{QUERY}"
        words = {"message": f"{_WORDS} key {key}", "error": _WORDS, "url_": signed, "code": 5.0}
        if parts[0] == "media":
            return self._media(parts[1], signed.format(parts[1]))
        name = next((part for part in parts if part.startswith(("link-", "media-", "body-", "cut-"))), None)
        if name is None:
            return self._list(parts[0], words)
        if path.endswith(("/recording", "/recording-url")):
            status = self.link_status or (int(name.removeprefix("link-")) if name.startswith("link-") else 0)
            redirect = "asteroid" in path
            status = status or (307 if redirect else 200)
            self.hit.add((f"{parts[0]} link", status))
            good = {"url": signed.format(name), "expires_at": None} if status == 200 and not redirect else {}
            headers = {"Location": signed.format(name), "X-Request": QUERY, "Retry-After": f"0; {QUERY}"}
            return status, headers, json.dumps(words | good).encode()
        self.hit.add((f"{parts[0]} get", 200))
        found = self.execution(name) | {"terminalAt": "2026-01-01T00:00:00Z", "callEndedAt": "2026-01-01T00:00:00Z"}
        found |= {"recordingUrl": None, "browserRecordingUrl": None, "purgedAt": None}
        return 200, {}, json.dumps(found if "asteroid" in path else {"agentCall": found}).encode()

    def _list(self, who: str, words: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        answer = self.list_answers.get(who, self.list_answers.get("all"))
        if isinstance(answer, bytes):
            return 200, {}, answer
        if answer is not None:
            self.hit.add(("list", answer))
            return answer, {"Location": f"/x?{QUERY}", "Retry-After": "0"}, json.dumps(words).encode()
        items = [self.execution(name) for name in self.ids]
        page = {"items": items, "page": 1, "pageSize": 100, "total": len(items), "agentCalls": items, "pagination": {}}
        return 200, {}, json.dumps(page).encode()

    def _media(self, name: str, signed: str) -> tuple[int, dict[str, str], bytes]:
        kind, _, what = name.partition("-")
        if kind == "body":
            self.hit.add((f"body {what}", 200))
            return 200, *bodies(signed)[what]
        if kind == "cut":  # see _Handler: half of it, so that it has to go on
            self.hit.add(("cut", 200))
            return 200, {"ETag": '"v1"'}, media(50_000)
        status = int(what) if kind == "media" else 200
        self.hit.add(("media", status))
        if status == 200:
            return 200, {"ETag": f'"{QUERY}"'}, media(5000)
        return status, {"Location": f"https://elsewhere.invalid/x?{QUERY}", "Retry-After": "0"}, bodies(signed)["xml"][1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        leaky = cast("Leaky", self.server.leaky)  # type: ignore[attr-defined]
        path = urlsplit(self.path).path
        status, headers, body = leaky.answer(path, str(self.headers.get("X-API-Key") or ""))
        self.send_response(status, f"Told {QUERY}")
        for name, value in headers.items():
            self.send_header(name, value)
        if "Transfer-Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if path.startswith("/media/cut-") and self.headers.get("Range") is None else body)
        self.close_connection = path.startswith("/media/cut-") or "Transfer-Encoding" in headers

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def running_leaky(day: str) -> Iterator[Leaky]:
    """Run the server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    leaky = Leaky(f"http://127.0.0.1:{server.server_port}", day)
    server.leaky = leaky  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield leaky
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
