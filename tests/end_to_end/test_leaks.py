"""The search that the canary relies on does find what is planted, in every kind of file that the product writes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.leaks import find_secrets

KEY = "sk_live+sandbox=canary"
SIGNATURE = hashlib.sha256(b"canary").hexdigest()
SECRETS = (KEY, SIGNATURE)
_MANY = 200
"""Repeated so often that compression hides the words, and one value fills several pages."""


def _words(secret: str) -> str:
    return f"GET http://localhost/media.mp4?X-Amz-Expires=60&sig={secret}&x=" + "filler " * _MANY


def _text(path: Path, secret: str) -> None:
    path.write_text(_words(secret))


def _parquet(path: Path, secret: str) -> None:
    rows = [{"_raw": f'{{"notes": "{_words(secret)}"}}'}] * _MANY
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def _nested_parquet(path: Path, secret: str) -> None:
    rows = [{"steps": [{"url": _words(secret)}]}] * _MANY
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def _sqlite(path: Path, secret: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE event_logs (event TEXT)")
        filler = "x" * 4000  # so that the secret lies across the end of a page
        connection.executemany("INSERT INTO event_logs VALUES (?)", [(filler + "y" * shift + secret,) for shift in range(200)])
        connection.commit()


def _duckdb(path: Path, secret: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE recording_attempts AS SELECT ? AS detail FROM range(5000)", [_words(secret)])


def _gzip(path: Path, secret: str) -> None:
    path.write_bytes(gzip.compress(_words(secret).encode()))


def _base64(path: Path, secret: str) -> None:
    words = [b"x" * shift + f"user:{secret} and more".encode() for shift in range(3)]
    # Signatures, of which there are thousands, are looked for as they are.
    path.write_text(secret if secret == SIGNATURE else " ".join(base64.b64encode(word).decode() for word in words[1:2]))


def _quoted(path: Path, secret: str) -> None:
    path.write_text(
        "".join(f"%{byte:02X}" if not chr(byte).isalnum() and chr(byte) not in "_.-~" else chr(byte) for byte in secret.encode())
    )


def _name(path: Path, secret: str) -> None:
    path.with_name(secret).mkdir()


@pytest.mark.parametrize("secret", SECRETS, ids=["key", "signature"])
@pytest.mark.parametrize("plant", [_text, _parquet, _nested_parquet, _sqlite, _duckdb, _gzip, _name, _base64, _quoted])
def test_a_planted_secret_is_found(tmp_path: Path, plant: Callable[[Path, str], None], secret: str) -> None:
    """One secret in one file among others is found there, and only there."""
    (tmp_path / "innocent.txt").write_text(hashlib.sha256(b"other").hexdigest())
    (tmp_path / "below").mkdir()
    plant(tmp_path / "below" / "file", secret)
    assert [(path.parent.name, found) for path, found in find_secrets(tmp_path, SECRETS)] == [("below", secret)]


@pytest.mark.parametrize("plant", [_parquet, _sqlite, _duckdb, _gzip])
def test_a_clean_file_is_not_accused(tmp_path: Path, plant: Callable[[Path, str], None]) -> None:
    """Files of each kind without a secret give nothing."""
    plant(tmp_path / "file", "nothing")
    assert find_secrets(tmp_path, SECRETS) == []
