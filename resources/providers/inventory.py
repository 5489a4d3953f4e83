"""The session inventory: files in which the user keeps the ids of Kataven's sessions, since no endpoint lists them.

CSV, JSON Lines and Parquet, at any fsspec URL: a file, a folder or a glob. Column names are taken in several spellings. A bad
line is told and the rest goes on; a file that cannot be read is told and the other files go on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

import fsspec.core  # pyright: ignore[reportMissingTypeStubs]
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from resources.errors import InventoryError, SettingsError
from resources.model import ExecutionRecord
from resources.providers.moments import iso_text, moment_of
from resources.providers.protocol import Problem
from resources.redaction import redact, safe_url

SETTING = "KATAVEN_SESSIONS"

ALIASES = {
    "session_id": ("session_id", "sessionid", "id"),
    "started_at": ("started_at", "startedat", "created_at", "createdat", "start_time", "starttime", "timestamp"),
    "ended_at": ("ended_at", "endedat", "end_time", "endtime", "completed_at", "completedat"),
    "status": ("status", "state"),
    "campaign_id": ("campaign_id", "campaignid"),
    "contact_id": ("contact_id", "contactid"),
    "agent_id": ("agent_id", "agentid"),
    "agent_name": ("agent_name", "agentname"),
    "phone_number": ("phone_number", "phonenumber", "phone"),
    "direction": ("direction",),
    "duration_seconds": ("duration_seconds", "durationseconds", "duration"),
}
"""Our name of each known column, and the names under which it is taken, in lower case, the first one found winning."""

LINE_MAX_BYTES = 4 * 1024 * 1024
PARQUET_BATCH_ROWS = 1024
_READ_BYTES = 64 * 1024
TEXT_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json")
PARQUET_SUFFIX = ".parquet"
GZIP_SUFFIX = ".gz"
SUFFIXES = (*TEXT_SUFFIXES, *(suffix + GZIP_SUFFIX for suffix in TEXT_SUFFIXES), PARQUET_SUFFIX)

_SAYS_NOTHING = frozenset({b"null", b'""'})
_MOMENTS = ("started_at", "ended_at")
_GLOB_MARKS = frozenset("*?[")
FILE_MAX_BYTES = 16 * 1024 * 1024 * 1024
"""The most that is read of one file, after decompression: ten times what ten million sessions take, and a gzip bomb's end."""
FILE_MAX_PROBLEMS = 1000
"""How many problems of one file are told one by one; a file of other things has as many as lines."""

Row = dict[str, object]


class _FileSystem(Protocol):
    """What is used of an fsspec filesystem, which brings no types."""

    def invalidate_cache(self) -> None: ...
    def isdir(self, path: str) -> bool: ...
    def info(self, path: str) -> Mapping[str, object]: ...
    def exists(self, path: str) -> bool: ...
    def find(self, path: str) -> list[str]: ...
    def glob(self, path: str) -> list[str]: ...
    def open(self, path: str, mode: str, *, compression: str | None = None) -> IO[bytes]: ...


@dataclass(frozen=True, slots=True)
class _File:
    fs: _FileSystem
    path: str


def checked_locations(text: str | None) -> tuple[str, ...]:
    """Return the fsspec URLs of the setting, which separates them by commas.

    Raises:
        SettingsError: there is none, or one is a chained URL (``::``), which would let a file name reach any protocol.
    """
    locations = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if not locations:
        msg = (
            f"{SETTING} is not set: Kataven has no endpoint that lists sessions. Set it to a file, folder or glob of session ids."
        )
        raise SettingsError(msg)
    if any("::" in location for location in locations):
        msg = f"{SETTING}: chained URLs (with '::') are not taken. Set it to a plain fsspec URL."
        raise SettingsError(msg)
    return locations


def read_sessions(locations: Iterable[str]) -> Iterator[ExecutionRecord | Problem]:
    """Yield each session of the inventory, and what could not be used; a session in several places as often as it is there.

    Files are read in the order of their paths, in a stream: memory does not grow with their size.

    Raises:
        InventoryError: nothing is there, or not one file can be read.
    """
    files = [file for location in locations for file in _files_at(location)]
    readable = 0
    first_fault = ""
    for file in files:
        fault = yield from _read_file(file)
        readable += fault is None
        first_fault = first_fault or (fault or "")
    if readable == 0:
        msg = f"no session inventory can be read ({SETTING}): {first_fault}"
        raise InventoryError(msg)


def _files_at(location: str) -> list[_File]:
    try:
        opened = cast("object", fsspec.core.url_to_fs(location))  # pyright: ignore[reportUnknownMemberType]
        fs, path = cast("tuple[_FileSystem, str]", opened)
        paths = _paths_at(fs, path)
    except Exception as fault:  # noqa: BLE001 - every backend of fsspec has errors of its own, of no common class
        msg = f"{SETTING}: {safe_url(location)} cannot be read ({type(fault).__name__}: {redact(str(fault))[:200]})"
        raise InventoryError(msg) from None
    if not paths:
        kinds = ", ".join(SUFFIXES)
        msg = f"{SETTING}: no inventory file at {safe_url(location)}. Put session ids there ({kinds}), or change the setting."
        raise InventoryError(msg)
    return [_File(fs, path) for path in paths]


def _paths_at(fs: _FileSystem, path: str) -> list[str]:
    """Return the inventory's files at ``path``, a folder, a file or a glob; a folder's other files are left out."""
    # fsspec keeps listings for the life of the process, which would hide files that came since.
    fs.invalidate_cache()
    if fs.isdir(path):
        return sorted(each for each in fs.find(path) if each.lower().endswith(SUFFIXES))
    if fs.exists(path):
        return [path]
    found = fs.glob(path) if _GLOB_MARKS & set(path) else []
    return sorted(each for each in found if each.lower().endswith(SUFFIXES))


def _read_file(file: _File) -> Generator[ExecutionRecord | Problem, None, str | None]:
    """Yield a file's rows; return why it could not be read, or None when at least its head could."""
    began, problems = False, 0
    try:
        _check_kind(file)
        for where, row in _rows_of(file):
            began = True
            item = row if isinstance(row, Problem) else _record_of(row, where)
            problems += isinstance(item, Problem)
            if problems <= FILE_MAX_PROBLEMS or not isinstance(item, Problem):
                yield item
        if problems > FILE_MAX_PROBLEMS:
            yield Problem(file.path, f"{problems - FILE_MAX_PROBLEMS} more rows cannot be used: is this a session inventory?")
    except Exception as fault:  # noqa: BLE001 -- whatever a file holds (a time zone that nobody knows, a damaged stream) is its fault
        what = f"{type(fault).__name__}: {redact(str(fault))[:200]}"
        yield Problem(file.path, f"the rest of the file cannot be read ({what})" if began else f"cannot be read ({what})")
        return None if began else f"{file.path}: {what}"
    return None


def _check_kind(file: _File) -> None:
    """Refuse pipes and devices, which may have no end.

    Raises:
        ValueError: it is no plain file.
    """
    kind = file.fs.info(file.path).get("type")
    if kind not in ("file", "link"):  # fsspec says "other" for what is neither a file nor a folder
        msg = "it is no plain file, and may have no end; copy what it gives into a file"
        raise ValueError(msg)


class _Bounded(io.RawIOBase):
    """A stream that ends with an error after FILE_MAX_BYTES."""

    def __init__(self, stream: IO[bytes]) -> None:
        # Of a damaged gzip stream read1 gives what came before the damage; not every backend's files have it.
        self._read = cast("Callable[[int], bytes]", getattr(stream, "read1", stream.read))
        self._left = FILE_MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- any writable buffer
        data = self._read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            msg = f"more than {FILE_MAX_BYTES} bytes"
            raise ValueError(msg)
        buffer[: len(data)] = data
        return len(data)


def _rows_of(file: _File) -> Iterator[tuple[str, Row | Problem]]:
    name = file.path.lower()
    if name.endswith(PARQUET_SUFFIX):
        with file.fs.open(file.path, "rb") as stream:
            yield from _parquet_rows(stream, file.path)
        return
    compression = "gzip" if name.endswith(GZIP_SUFFIX) else None
    is_csv = name.removesuffix(GZIP_SUFFIX).endswith(".csv")
    with file.fs.open(file.path, "rb", compression=compression) as opened:
        stream = io.BufferedReader(_Bounded(opened), _READ_BYTES)
        yield from _csv_rows(stream, file.path) if is_csv else _json_rows(stream, file.path)


def _json_rows(stream: IO[bytes], path: str) -> Iterator[tuple[str, Row | Problem]]:
    number = 0
    while line := stream.readline(LINE_MAX_BYTES):
        number += 1
        where = f"{path}:{number}"
        if not line.endswith(b"\n") and len(line) >= LINE_MAX_BYTES:
            _skip_line(stream)
            yield where, Problem(where, f"longer than {LINE_MAX_BYTES} bytes")
            continue
        line = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if line:
            yield where, _json_row(line, where)


def _skip_line(stream: IO[bytes]) -> None:
    while (rest := stream.readline(LINE_MAX_BYTES)) and not rest.endswith(b"\n"):
        pass


def _json_row(line: bytes, where: str) -> Row | Problem:
    try:
        _ = line.decode()
        # Raw keeps what we do not know exactly as it is written: numbers, spacing and all.
        raw = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        known = {name for names in ALIASES.values() for name in names}
        return {key: msgspec.json.decode(value) if key.lower() in known else value for key, value in raw.items()}
    except UnicodeDecodeError:
        return Problem(where, "not UTF-8")
    except (msgspec.MsgspecError, RecursionError) as fault:
        hint = "; write one JSON object a line, not a list" if line.startswith(b"[") else ""
        return Problem(where, f"not a JSON object ({fault}){hint}")


def _csv_rows(stream: IO[bytes], path: str) -> Iterator[tuple[str, Row | Problem]]:
    lines = csv.reader(_text_lines(stream))
    header: list[str] | None = None
    for cells in _csv_lines(lines):
        where = f"{path}:{lines.line_num}"
        if isinstance(cells, csv.Error):
            yield where, Problem(where, f"not a CSV line ({cells})")
        elif not any(cell.strip() for cell in cells):
            continue
        elif header is None:
            header = [cell.strip() for cell in cells]
            _check_columns(header)
        elif len(cells) > len(header):
            yield where, Problem(where, f"{len(cells)} cells under {len(header)} columns")
        else:
            # An empty cell is how CSV says that there is no value.
            yield where, {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name and cell.strip()}


def _text_lines(stream: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a text; of an endless one the beginning, which is longer than any CSV reader takes for one cell."""
    first = True
    while line := stream.readline(LINE_MAX_BYTES):
        if len(line) >= LINE_MAX_BYTES and not line.endswith(b"\n"):
            _skip_line(stream)
            line += b"\n"
        yield line.decode("utf-8-sig" if first else "utf-8", errors="replace")
        first = False


def _csv_lines(lines: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """Yield each line's cells, or what is wrong with it: a CSV reader can go on after an error, a ``for`` over it cannot."""
    while True:
        try:
            yield next(lines)
        except StopIteration:
            return
        except csv.Error as fault:
            yield fault


def _parquet_rows(stream: IO[bytes], path: str) -> Iterator[tuple[str, Row | Problem]]:
    file = pq.ParquetFile(stream)
    schema = file.schema_arrow
    _check_columns(schema.names)
    number = 0
    batches: Iterator[pa.RecordBatch] = file.iter_batches(batch_size=PARQUET_BATCH_ROWS)  # pyright: ignore[reportUnknownMemberType]
    for batch in batches:
        table = pa.Table.from_batches([batch]).cast(_without_nanoseconds(schema), safe=False)
        for row in _python_rows(table):
            number += 1
            where = f"{path}:row {number}"
            for name in [name for name, value in row.items() if isinstance(value, Problem)]:
                yield where, Problem(f"{where}, column {name}", cast("Problem", row.pop(name)).what)
            yield where, {key: value for key, value in row.items() if value is not None}


def _python_rows(table: pa.Table) -> Iterator[Row]:
    """Yield the rows; a value that Python cannot hold (a year beyond 9999) is a problem in its place, and spoils nothing else."""
    try:
        yield from cast("list[Row]", table.to_pylist())
    except Exception:  # noqa: BLE001 -- OverflowError, UnicodeDecodeError, an unknown time zone, ...: find whose fault it is
        for number in range(table.num_rows):
            yield {name: _python_value(column[number]) for name, column in zip(table.column_names, table.columns, strict=True)}


def _python_value(value: pa.Scalar) -> object:
    try:
        return cast("object", value.as_py())
    except Exception as fault:  # noqa: BLE001 -- as above
        return Problem("", f"a value that cannot be read ({type(fault).__name__})")


def _without_nanoseconds(schema: pa.Schema) -> pa.Schema:
    """Return the schema with timestamps in microseconds: Python's datetime holds no more."""
    return pa.schema([(name, _at_most_microseconds(kind)) for name, kind in zip(schema.names, schema.types, strict=True)])


def _at_most_microseconds(kind: pa.DataType) -> pa.DataType:
    if not isinstance(kind, pa.TimestampType):
        return kind
    return pa.timestamp("us", cast("str", kind.tz))  # the zone may be None, which the stubs do not know


def _check_columns(names: Iterable[str]) -> None:
    """Raise when a table has no column for the id or the start: then no row of it can be used.

    Raises:
        ValueError: names the columns that would be taken.
    """
    lower = {name.strip().lower() for name in names}
    for needed in ("session_id", "started_at"):
        if not lower & set(ALIASES[needed]):
            msg = f"no column {needed}; taken are {', '.join(ALIASES[needed])} in any case"
            raise ValueError(msg)


def _record_of(row: Row, where: str) -> ExecutionRecord | Problem:
    """Return a row as an execution: known columns under our names and as our types, the rest as it is."""
    rest = dict(row)
    spelled = {key.strip().lower(): key for key in reversed(row)}
    known: Row = {}
    for name, aliases in ALIASES.items():
        key = next((spelled[alias] for alias in aliases if alias in spelled and row[spelled[alias]] not in (None, "")), None)
        if key is not None:
            known[name] = rest.pop(key)
    session_id = known.get("session_id")
    if isinstance(session_id, bool) or not isinstance(session_id, str | int) or not str(session_id).strip():
        return Problem(where, "no session id")
    started_at = moment_of(known.get("started_at"))
    if started_at is None:
        return Problem(where, "no start time that is a time")
    session = str(session_id).strip()
    typed = {name: _typed(name, value) for name, value in known.items()}
    typed |= {"session_id": session, "started_at": iso_text(started_at)}
    # What is left may bear one of our names, as a second spelling of a column: ours goes last and wins.
    document = {key: value for key, value in rest.items() if key not in ALIASES} | typed
    try:
        return ExecutionRecord(session, started_at, msgspec.json.encode(document, enc_hook=str))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as fault:
        return Problem(where, f"a value that JSON cannot hold ({type(fault).__name__})")


def joined(first: ExecutionRecord, later: ExecutionRecord) -> ExecutionRecord:
    """Return one session from two of its lines: what the later one says wins, but for the start, which names the day."""
    fields = msgspec.json.decode(first.raw, type=dict[str, msgspec.Raw])
    more = msgspec.json.decode(later.raw, type=dict[str, msgspec.Raw])
    said = {key: value for key, value in more.items() if bytes(value) not in _SAYS_NOTHING and key != "started_at"}
    return ExecutionRecord(first.execution_id, first.created_at, msgspec.json.encode(fields | said))


def _typed(name: str, value: object) -> object:
    if name in _MOMENTS:
        moment = moment_of(value)
        return value if moment is None else iso_text(moment)
    if name == "duration_seconds":
        return _number(value)
    if isinstance(value, str | bool | int):
        return str(value)
    return value


def _number(value: object) -> object:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
