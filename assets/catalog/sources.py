"""From lists of the lake's files to the SQL that reads them.

A list is exact: a glob would also match files that newer ones have replaced, and costs a listing for each query. Files of one
shape are read together, each group with its own columns, because ``union_by_name`` would open the footer of every file whenever
a query is bound. Only the tail is found by a glob, at query time: what is appended after the publication has to be in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from assets.catalog.facts import Facts

Types = Mapping[str, str]
"""The columns of a table, in order, and their types in DuckDB's words."""

SEED = "schema.parquet"
"""The name of an empty file in each folder of the tail: a glob that matches nothing is an error in DuckDB 1.5. No event file's
name has this shape, so the ledger takes no notice of it."""
_BETWEEN = ";"
_PROVIDER = re.compile(r"(.*/)provider=[^/]+/")
_PATTERN = re.compile(r"[*?\[]")
_HIVE_TYPES = {"provider": "VARCHAR", "date": "DATE", "month": "VARCHAR"}
_HIVE = rf"(^|/)({'|'.join(_HIVE_TYPES)})="
_REFUSED = (
    f"{', '.join(f'{name}=' for name in _HIVE_TYPES)} say in the lake what its files are about: no folder above it may be called "
    "so. Put the archive, or a link to it, elsewhere, and SET VARIABLE archive_root to that. It is here now: "
)


@dataclass(frozen=True, slots=True)
class Root:
    """How the views spell the archive root: as the reader sets it, or else as it was at the publication."""

    text: str

    @property
    def sql(self) -> str:
        """The expression. It fails where DuckDB would take a part of the root for a column of the lake."""
        given = f"regexp_replace(getvariable('archive_root'), {literal(_PATTERN.pattern)}, '[\\0]', 'g')"
        exact = _PATTERN.sub(r"[\g<0>]", self.text)  # a folder whose name looks like a pattern
        root = f"rtrim(coalesce({given}, {literal(exact)}), '/')"
        return f"CASE WHEN regexp_matches({root}, {literal(_HIVE)}) THEN error({literal(_REFUSED)} || {root}) ELSE {root} END"


def literal(text: str) -> str:
    """Return a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def types_of(connection: duckdb.DuckDBPyConnection, schema: pa.Schema) -> dict[str, str]:
    """Return DuckDB's types of the columns of an Arrow schema."""
    connection.register("shape", schema.empty_table())
    described = connection.execute("DESCRIBE shape").fetchall()
    connection.unregister("shape")
    return {str(row[0]): str(row[1]) for row in described}


def nothing(wanted: Types) -> str:
    """Return a SELECT of these columns and no row."""
    return "SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in wanted.items()) + " WHERE false"


def scan(
    connection: duckdb.DuckDBPyConnection,
    facts: Facts,
    root: Root,
    wanted: Types,
    files: Iterable[str],
    *,
    largest_first: bool = False,
) -> str:
    """Return a SELECT of the ``wanted`` columns from files, one or more reads that are united.

    Args:
        connection: to ask what can be cast to what.
        facts: of the files.
        root: the archive root.
        wanted: columns that a file lacks are NULL; what does not fit the type is NULL too, as its type was another one.
        files: paths below folders ``<table>/provider=<name>/``, relative to the root. What the path says (provider, date) is
            taken from there: so files are left closed that a question is not about.
        largest_first: a read opens its first file whenever a query is bound, and guesses by it how many rows all of them have.
            The smallest is opened soonest; where much depends on the guess, it should not be too low.
    """
    groups: dict[str, list[str]] = {}
    for path, fact in sorted(facts.of(files).items(), key=lambda each: (each[1].rows, each[0]), reverse=largest_first):
        groups.setdefault(fact.shape, []).append(path)
    reads = [
        _read(root, paths, _columns(connection, wanted, types_of(connection, facts.schema(paths[0])) | by_path), by_path)
        for paths in groups.values()
        for by_path in [_by_path(paths[0])]
    ]
    return " UNION ALL ".join(reads) if reads else nothing(wanted)


def _columns(connection: duckdb.DuckDBPyConnection, wanted: Types, there: Types) -> str:
    return ", ".join(f'{_column(connection, name, kind, there.get(name))} AS "{name}"' for name, kind in wanted.items())


def _column(connection: duckdb.DuckDBPyConnection, name: str, kind: str, there: str | None) -> str:
    if there == kind:
        return f'"{name}"'
    if there is not None:
        try:
            connection.execute(f"SELECT TRY_CAST(NULL::{there} AS {kind})")
        except duckdb.Error:  # no way from one type to the other
            return f"NULL::{kind}"
        return f'TRY_CAST("{name}" AS {kind})'
    return f"NULL::{kind}"


def _by_path(path: str) -> dict[str, str]:
    """Return the columns that the path of a file says, and their types."""
    return {name: kind for name, kind in _HIVE_TYPES.items() if f"/{name}=" in path}


def _read(root: Root, paths: Sequence[str], columns: str, by_path: Types) -> str:
    # One read for all providers: binding costs the opening of one file for each read.
    folder = _PROVIDER.match(paths[0])
    assert folder is not None, paths[0]  # noqa: S101 -- all tables of the lake are laid out so
    names = _BETWEEN.join(path.removeprefix(folder[1]) for path in (paths[0], *sorted(paths[1:])))
    listed = f"list_transform(string_split({literal(names)}, '{_BETWEEN}'), lambda x: {root.sql} || '/{folder[1]}' || x)"
    types = ", ".join(f"'{name}': {kind}" for name, kind in by_path.items())
    how = f"hive_partitioning = true, hive_types = {{{types}}}"
    return f"SELECT {columns} FROM read_parquet({listed}, {how})"  # noqa: S608 -- names and columns of ours


def scan_tail(root: Root, folder: str, wanted: Types, known: Iterable[str], providers: Iterable[str]) -> str:
    """Return a SELECT of the ``wanted`` columns from the event files that lie in the tail's folder when the query runs.

    Args:
        root: the archive root.
        folder: of the tail, relative to the root.
        wanted: columns that a file lacks are NULL.
        known: paths of files to leave out.
        providers: whose files are read; in other folders lie strangers.
    """
    from_name = {
        "provider": f"split_part(split_part(filename, '/{folder}/provider=', 2), '/', 1)",
        "date": "TRY_CAST(left(parse_filename(filename), 10) AS DATE)",
    }
    columns = ", ".join(f'{from_name.get(name, _quoted(name))} AS "{name}"' for name in wanted)
    # One long text, since DuckDB asks this of each file's name: a list of texts would be made anew for each.
    names = "".join(f"/{path.rpartition('/')[2]}" for path in sorted(known))
    return (
        f"SELECT {columns} FROM read_parquet({root.sql} || '/{folder}/provider=*/*.parquet', "  # noqa: S608 -- ours
        f"schema = {_shape(wanted)}, filename = true) "
        r"WHERE regexp_matches(parse_filename(filename), '^\d{4}-\d\d-\d\d_') "
        f"AND {from_name['date']} IS NOT NULL AND {from_name['provider']} IN ({', '.join(map(literal, providers))}) "
        f"AND NOT contains({literal(f'{names}/')}, '/' || parse_filename(filename) || '/')"
    )


def scan_day(root: Root, folder: str, wanted: Types, files: Iterable[str], empty: str, *, provider: str, day: str) -> str:
    """Return a SELECT of the ``wanted`` columns from the one file that has the rows of a provider's day.

    Which file that is, is found in a text of all of them when the query is bound: no other one is opened, nor even listed.

    Args:
        root: the archive root.
        folder: of the files, relative to the root.
        wanted: columns that the file lacks are NULL; ``provider`` and ``date`` are among them.
        files: paths ``provider=<name>/date=<day>/<file>`` below the folder, or those of a month, ``month=<name>-<month>``, where
            days share a file. Of a day that has a file of its own, that one counts.
        empty: the path of a file without rows, for days that there are not, relative to the root.
        provider: the SQL of its name, a constant.
        day: the SQL of the day, a constant DATE.
    """
    listed = literal("".join(f"{_BETWEEN}{path.removeprefix(f'{folder}/')}" for path in sorted(files)))
    places = (f"concat('date=', {day})", f"concat('month=', {provider}, '-', strftime({day}, '%Y-%m'))")
    marks = [f"concat('{_BETWEEN}provider=', {provider}, '/', {place}, '/')" for place in places]
    found = [f"nullif(split_part(split_part({listed}, {mark}, 2), '{_BETWEEN}', 1), '')" for mark in marks]
    paths = [
        f"'{folder}/provider=' || {provider} || '/' || {place} || '/' || {name}"
        for place, name in zip(places, found, strict=True)
    ]
    return (
        f"SELECT {', '.join(map(_quoted, wanted))} "  # noqa: S608 -- ours
        f"FROM read_parquet({root.sql} || '/' || coalesce({', '.join(paths)}, {literal(empty)}), "
        f"schema = {_shape(wanted)}, hive_partitioning = false) "
        f'WHERE provider = {provider} AND "date" = {day}'
    )


def _shape(wanted: Types) -> str:
    """Return the columns that files are read by, by name; one that a file lacks is NULL. One text is bound in half the time."""
    entries = ", ".join(f'{name}={{"name": "{name}", "type": "{kind}", "default_value": NULL}}' for name, kind in wanted.items())
    return f'CAST({literal(f"{{{entries}}}")} AS MAP(VARCHAR, STRUCT("name" VARCHAR, "type" VARCHAR, default_value VARCHAR)))'


def _quoted(name: str) -> str:
    return f'"{name}"'
