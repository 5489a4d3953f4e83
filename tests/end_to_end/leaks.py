"""The search for secrets: every file below a folder, and what its format hides from a plain search."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import duckdb
import pyarrow.parquet as pq

SIGNED_QUERY = ("X-Amz-Signature", "X-Amz-Credential")
"""No text of ours has a reason to hold these: they stand in presigned URLs only."""
_PARQUET, _SQLITE, _GZIP, _DUCK = b"PAR1", b"SQLite format 3\0", b"\x1f\x8b", b"DUCK"
_DUCK_OFFSET = 8
_LONG_HEX = re.compile(rb"[0-9a-f]{64,}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


def find_secrets(folder: Path, secrets: Iterable[str]) -> list[tuple[Path, str]]:
    """Return every (file, secret) below ``folder``; names of files count as their content."""
    search = Search(secrets)
    found: list[tuple[Path, str]] = []
    for path in sorted(folder.rglob("*")):
        texts = [str(path.relative_to(folder)).encode()]
        if path.is_file():
            texts += contents(path)
        found += [(path, secret) for secret in sorted({secret for text in texts for secret in search(text)})]
    return found


class Search:
    """Finds secrets in bytes. Signatures, of which there are many, are looked up among the long hexadecimal words."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if secret}
        self._signatures = {secret for secret in known if _SIGNATURE.fullmatch(secret)}
        self._others = [(secret, form) for secret in known - self._signatures for form in _forms(secret)]

    def __call__(self, text: bytes) -> set[str]:
        """Return the secrets that stand in ``text``."""
        found = {secret for secret, data in self._others if data in text}
        for match in _LONG_HEX.finditer(text):
            word = match.group().decode()
            found |= {word[at : at + 64] for at in range(len(word) - 63)} & self._signatures
        return found


def _forms(secret: str) -> set[bytes]:
    """Return a secret as it stands in plain text, in a URL, in JSON, in a header and, at each alignment, in base64."""
    plain = secret.encode()
    forms = {plain, quote(secret, safe="").encode(), quote_plus(secret).encode(), json.dumps(secret)[1:-1].encode()}
    for shift in range(3):
        # The first and the last characters also hold bits of what stands around the secret.
        word = base64.b64encode(b"\0" * shift + plain)
        inner = word[4 if shift else 0 : -4]
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms


def contents(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, and, where they hide text from a search, the text."""
    data = path.read_bytes()
    yield data
    if data.startswith(_PARQUET):
        yield from _parquet(path)
    elif data.startswith(_SQLITE):
        yield from _sqlite(path)
    elif data.startswith(_GZIP):
        yield gzip.decompress(data)
    elif data[_DUCK_OFFSET:].startswith(_DUCK):
        yield from _duckdb(path)


def _parquet(path: Path) -> Iterator[bytes]:
    file = pq.ParquetFile(path)
    yield repr(file.schema_arrow.metadata).encode()
    for row in file.read().to_pylist():
        yield _plain(row)


def _sqlite(path: Path) -> Iterator[bytes]:
    """Long values lie in pieces on several pages: a search of the bytes can miss them."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            table = name.decode()
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 -- a name that the file itself gave
                for value in row:
                    yield value if isinstance(value, bytes) else str(value).encode()


def _duckdb(path: Path) -> Iterator[bytes]:
    with duckdb.connect(str(path), read_only=True) as connection:
        # What a view shows lies in the lake's files, which are looked through themselves.
        for schema, table in connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
            for row in connection.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall():  # noqa: S608 -- names that the file gave
                yield _plain(row)
        yield repr(connection.execute("SELECT sql, comment FROM duckdb_views() WHERE NOT internal").fetchall()).encode()


def _plain(row: object) -> bytes:
    """Return a row as text, without escapes that would break a word."""
    return json.dumps(row, default=str, ensure_ascii=False).replace('\\"', '"').replace("\\\\", "\\").encode("utf-8", "replace")
