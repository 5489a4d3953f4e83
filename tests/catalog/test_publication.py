"""Publishing the catalog: small, exact, movable, and never an answer that is wrong."""

from __future__ import annotations

import re
import shutil
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.catalog import facts, publication
from assets.catalog.build import provider_table
from assets.catalog.columns import SHARED_TABLES
from assets.catalog.facts import FACTS, Facts, named_files
from assets.catalog.publication import CATALOG_NAME, POINTER, current, publish, shown_generations
from assets.executions import lake
from assets.recordings import names
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import State
from resources.errors import StorageError
from resources.failpoints import Failpoint, hooked
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage
from tests.catalog.lakes import NOW, append, asked, day, event, opened, put_executions

SPECS = tuple(PROVIDERS.values())
DAYS = 12
PER_DAY = 3


@pytest.fixture(scope="module")
def unpublished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an archive without a catalog: some days of every provider, folded and compacted."""
    root = tmp_path_factory.mktemp("unpublished") / "archive"
    storage = open_storage(str(root))
    for provider in PROVIDERS:
        for number in range(DAYS):
            ids = [f"{provider}-{number}-{each}" for each in range(PER_DAY)]
            put_executions(storage, provider, day(number), ids)
            append(storage, [event(provider, name, State.ARCHIVED, on=day(number)) for name in ids])
        Ledger(storage).fold(provider)
        Ledger(storage).pack(provider)
    return root


@pytest.fixture
def root(unpublished: Path, tmp_path: Path) -> Path:
    """Return the folder of a published archive of the test's own."""
    root = tmp_path / "archive"
    shutil.copytree(unpublished, root)
    publish(open_storage(str(root)), SPECS, NOW)
    return root


def storage_at(root: Path) -> ArchiveStorage:
    """Open the archive again."""
    return open_storage(str(root))


def read_files(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """Return how many Parquet files a query opens."""
    plan = "".join(str(row[1]) for row in connection.execute(f"EXPLAIN ANALYZE {sql}").fetchall())
    return sum(int(count) for count in re.findall(r"Total Files Read: (\d+)", plan))


ONE_DAY = "provider = 'feather' AND \"date\" = '2026-11-03'"


@pytest.mark.parametrize(
    ("view", "files", "tail"),
    [("feather_calls", 1, 0), ("executions", 1, 0), ("recordings", 2, 36), ("recording_attempts", 2, 0)],
)
def test_a_question_about_a_day_opens_the_files_of_that_day(root: Path, view: str, files: int, tail: int) -> None:
    """The others stay closed, by provider, by day, and by a range of days; of the tail, ``recordings`` has to see all, once."""
    storage = storage_at(root)
    append(storage, [event(provider, "new", on=day(number)) for provider in PROVIDERS for number in range(DAYS)])
    with opened(root) as connection:
        assert connection.execute(f"SELECT count(*) FROM {view} WHERE {ONE_DAY}").fetchall() != [(0,)]  # noqa: S608 -- ours
        assert 0 < read_files(connection, f"SELECT * FROM {view} WHERE {ONE_DAY}") <= files + tail  # noqa: S608 -- ours
        some = "provider = 'feather' AND \"date\" >= '2026-11-03' AND \"date\" < '2026-11-05'"
        assert 0 < read_files(connection, f"SELECT * FROM {view} WHERE {some}") <= 2 * files + tail  # noqa: S608 -- ours


def test_what_has_no_news_is_answered_from_the_file(root: Path) -> None:
    """Coverage and the due queue open none of the lake's files where nothing was appended since."""
    with opened(root) as connection:
        assert read_files(connection, "SELECT * FROM coverage") == 0
        assert read_files(connection, "SELECT * FROM due") == 0


def test_news_cost_the_files_of_their_days(root: Path) -> None:
    """Coverage with a tail opens the tail's files and the states of the tail's days."""
    append(storage_at(root), [event("kataven", "new", State.FAILED, on=day(5))])
    with opened(root) as connection:
        assert read_files(connection, "SELECT * FROM coverage") <= 2
        assert connection.execute("SELECT sum(failed) FROM coverage").fetchall() == [(1,)]


def test_the_next_publication_reads_what_is_new(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that changed costs its own footers; the facts of all other files are known."""
    read: list[str] = []
    original = Facts._footer

    def counting(self: Facts, path: str) -> tuple[pa.Schema, int]:
        read.append(path)
        return original(self, path)

    monkeypatch.setattr(facts.Facts, "_footer", counting)
    storage = storage_at(root)
    publish(storage, SPECS, NOW)
    shapes = len(read)
    read.clear()
    append(storage, [event("feather", "new", on=day(2))])
    put_executions(storage, "feather", day(2), ["new"])
    publish(storage, SPECS, NOW)
    assert len(read) <= shapes + 3
    assert asked(root, "SELECT executions, recordings FROM coverage WHERE provider = 'feather' AND date = '2026-11-03'") == [
        (4, 4)
    ]
    storage.delete(FACTS)
    publish(storage, SPECS, NOW)
    assert named_files(storage) >= {path for paths in lake.partition_files(storage, "feather").values() for path in paths}


def test_the_file_stays_small(root: Path) -> None:
    """Ten times the rows make no larger file: they stay in the lake."""
    storage = storage_at(root)
    before = (root / CATALOG_NAME).stat().st_size
    for number in range(DAYS):
        put_executions(storage, "feather", day(number), [f"more-{each}" for each in range(500)])
    append(storage, [event("feather", f"more-{each}", State.ARCHIVED, on=day(1)) for each in range(5_000)])
    publish(storage, SPECS, NOW)
    assert asked(root, "SELECT count(*) FROM recordings") == [(3 * DAYS * PER_DAY + 5_000,)]
    assert (root / CATALOG_NAME).stat().st_size < 1.5 * before


def test_two_writers_at_one_instant_make_no_row_twice(root: Path) -> None:
    """A partition with two current files is made one before its file is named."""
    storage = storage_at(root)
    before = lake.former(storage, PROVIDERS["feather"], day(3))
    put_executions(storage, "feather", day(3), ["one"])
    (mine,) = lake.partition_files(storage, "feather")[day(3)]
    data = storage.read(mine)
    storage.delete(mine)
    put_executions(storage, "feather", day(3), ["two"])
    storage.create(mine, data)
    before.close()
    assert len(lake.partition_files(storage, "feather")[day(3)]) == 2
    publish(storage, SPECS, NOW)
    rows = asked(root, "SELECT execution_id FROM feather_calls WHERE date = '2026-11-04' ORDER BY 1")
    assert [row[0] for row in rows] == ["feather-3-0", "feather-3-1", "feather-3-2", "one", "two"]


def test_files_of_an_older_version_are_read_as_they_are(root: Path) -> None:
    """A file that lacks a column, or has it with another type, gives NULL or the value; the columns stay the same."""
    storage = storage_at(root)
    (path,) = lake.partition_files(storage, "feather")[day(4)]
    table = pq.read_table(root / path, partitioning=None)
    older = table.drop_columns(["call_ended_reason"]).set_column(
        table.schema.get_field_index("call_duration"), "call_duration", pa.array(["7", "x", None])
    )
    older = older.append_column("gone_since", pa.array([1, 2, 3]))
    pq.write_table(older, root / path)
    storage.delete(FACTS)
    publish(storage, SPECS, NOW)
    sql = "SELECT call_duration, call_ended_reason FROM feather_calls WHERE date = '2026-11-05' ORDER BY execution_id"
    assert asked(root, sql) == [(7.0, None), (None, None), (None, None)]
    assert [row[0] for row in asked(root, "DESCRIBE feather_calls")] == list(provider_table(PROVIDERS["feather"]).columns)
    assert asked(root, "SELECT count(*) FROM executions") == [(3 * DAYS * PER_DAY,)]


@pytest.mark.parametrize("lost", [names.STATES, names.LEDGER])
def test_what_a_fold_makes_may_be_deleted(root: Path, lost: str) -> None:
    """Compacted states that are gone are made again by the next publication."""
    before = asked(root, "SELECT * FROM recordings ORDER BY ALL")
    shutil.rmtree(root / lost)
    publish(storage_at(root), SPECS, NOW)
    assert asked(root, "SELECT * FROM recordings ORDER BY ALL") == before


def test_lost_history_is_said(root: Path) -> None:
    """Compacted events that are gone fail the publication, by name; the former catalog stays."""
    storage = storage_at(root)
    (gone, *_) = Ledger(storage).history_files("feather", day(1))
    storage.delete(gone)
    before = (root / CATALOG_NAME).read_bytes()
    with pytest.raises(StorageError, match=gone):
        publish(storage, SPECS, NOW)
    assert (root / CATALOG_NAME).read_bytes() == before


def test_the_archive_can_be_moved(root: Path, tmp_path: Path) -> None:
    """Copied to a folder whose name looks like a pattern, the catalog reads the lake that it is told; attached too."""
    moved = tmp_path / "elsewhere [a-z]*" / "it's"
    shutil.copytree(root, moved)
    shutil.rmtree(root)
    append(storage_at(moved), [event("feather", "late")])
    tables = [table.name for table in SHARED_TABLES]
    with opened(moved) as connection, duckdb.connect() as other:
        with pytest.raises(duckdb.IOException):
            connection.execute("SELECT * FROM recordings")
        other.execute("ATTACH '{}' AS archive (READ_ONLY)".format(str(moved / CATALOG_NAME).replace("'", "''")))
        for each, prefix in ((connection, ""), (other, "archive.")):
            each.execute("SET VARIABLE archive_root = ?", [f"{moved}/"])
            for table in tables:
                assert each.execute(f"SELECT * FROM {prefix}{table}").fetchall()  # noqa: S608 -- names of the catalog
            found = each.execute(f"SELECT state FROM {prefix}recordings WHERE execution_id = 'late'").fetchall()  # noqa: S608
            assert found == [("pending",)]
    publish(storage_at(moved), SPECS, NOW)
    assert asked(moved, "SELECT count(*) FROM recordings") == [(3 * DAYS * PER_DAY + 1,)]


def test_a_root_that_looks_like_a_part_of_the_lake_is_refused(root: Path, tmp_path: Path) -> None:
    """DuckDB would take a backup's folder ``date=...`` for the day of all rows: the views say so, and answer through a link."""
    moved = tmp_path / "date=2026-11-01" / "archive"
    shutil.copytree(root, moved)
    tables = [table.name for table in SHARED_TABLES if table.name != "due"]
    question = "SELECT count(*), sum(hash(each)) FROM {} AS each"
    with opened(root) as connection:
        truth = {table: connection.execute(question.format(table)).fetchall() for table in tables}
        connection.execute("SET VARIABLE archive_root = ?", [str(moved)])
        for table in tables:
            with pytest.raises(duckdb.InvalidInputException, match=r"no folder above it may be called so.*date=2026-11-01"):
                connection.execute(question.format(table))
        (tmp_path / "link").symlink_to(moved)
        connection.execute("SET VARIABLE archive_root = ?", [str(tmp_path / "link")])
        assert {table: connection.execute(question.format(table)).fetchall() for table in tables} == truth


def test_an_empty_archive_has_all_tables(tmp_path: Path) -> None:
    """Before anything is archived every view answers, with no row; then with what was appended since."""
    root = tmp_path / "archive"
    publish(storage_at(root), SPECS, NOW)
    for table in (*SHARED_TABLES, *map(provider_table, SPECS)):
        assert asked(root, f"SELECT * FROM {table.name}") == []  # noqa: S608 -- names of the catalog
    append(storage_at(root), [event("feather", "a")])
    assert asked(root, "SELECT count(*) FROM recordings") == [(1,)]
    assert asked(root, "SELECT pending FROM coverage") == [(1,)]


def test_strangers_in_the_tail_are_left_alone(root: Path) -> None:
    """What a file manager or a person leaves beside the event files breaks no question, and is in no answer."""
    folder = root / names.tail_folder("feather")
    before = asked(root, "SELECT * FROM recordings ORDER BY ALL")
    (folder / "copy.parquet").write_bytes(b"no Parquet")
    (folder / "2026-11-20.parquet").write_bytes(b"no Parquet")
    (folder / ".DS_Store").write_bytes(b"x")
    stranger = root / names.tail_folder("nobody")
    stranger.mkdir()
    shutil.copy(next(root.glob(f"{names.EVENTS}/provider=feather/date=*/*.parquet")), stranger / "2026-11-20_events.parquet")
    assert asked(root, "SELECT * FROM recordings ORDER BY ALL") == before


def test_the_pointer_says_what_is_shown(root: Path) -> None:
    """On local disk too, the pointer names the catalog and the snapshots of the ledger that it stands on."""
    storage = storage_at(root)
    told = current(storage)
    assert told is not None
    assert (told.path, told.bytes) == (CATALOG_NAME, (root / CATALOG_NAME).stat().st_size)
    assert told.generations == {name: Ledger(storage).generation(name) for name in PROVIDERS}
    assert msgspec.json.decode((root / POINTER).read_bytes())["generations"] == told.generations
    ((shown,),) = asked(root, "SELECT generations FROM catalog_info")
    assert shown == told.generations
    storage.write(POINTER, b"{")
    with pytest.raises(StorageError, match="damaged"):
        current(storage)


def test_who_is_slow_points_to_a_catalog_that_is_there() -> None:
    """On object storage an early clock removes other versions, never one's own; what others have removed of it is made again."""
    storage = open_storage(f"memory://{uuid.uuid4().hex}/archive")
    append(storage, [event("feather", "a")])

    def others() -> None:
        for minutes in range(1, 6):
            assert storage.exists(publish(storage, SPECS, NOW + timedelta(minutes=minutes)).path)

    others()
    assert storage.exists(publish(storage, SPECS, NOW).path)
    turns = [True]

    def interrupt(at: Failpoint) -> None:
        if at is Failpoint.CATALOG_PUT and turns:
            turns.clear()
            others()

    with hooked(interrupt):
        slow = publish(storage, SPECS, NOW)
    told = current(storage)
    assert told is not None
    assert told.path == slow.path
    assert storage.exists(told.path)
    assert len(list(storage.list("catalog"))) <= 5  # versions, and the pointer


def test_readers_never_fail_while_folds_compactions_and_publications_go_on(root: Path) -> None:
    """Somebody who has a catalog open reads on, and sees each recording once, in the state that it has by then or by the tail."""
    storage = storage_at(root)
    stop, failures, answers = threading.Event(), list[BaseException](), list[int]()

    def read(connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        try:
            held = connect()
            while not stop.is_set():
                ((count, keys),) = held.execute(
                    'SELECT count(*), count(DISTINCT (provider, execution_id, leg, "date")) FROM recordings'
                ).fetchall()
                ((covered,),) = held.execute("SELECT sum(recordings) FROM coverage").fetchall()
                assert count == keys
                assert count <= covered
                answers.append(count)
            held.close()
        except BaseException as error:  # noqa: BLE001 -- told by the test
            failures.append(error)

    readers = [threading.Thread(target=read, args=(lambda: opened(root),)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(4):
        append(
            storage,
            [event("feather", f"n{number}", on=day(number)), event("feather", "feather-1-1", State.FAILED, on=day(1), seq=9)],
        )
        Ledger(storage).fold("feather")
        Ledger(storage).pack("feather")
        Ledger(storage).retire("feather", grace=timedelta(hours=24), shown=None, before_delete=lambda _: None)
        publish(storage, SPECS, NOW)
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(answers) > len(readers)
    assert asked(root, "SELECT count(*) FROM recordings") == [(3 * DAYS * PER_DAY + 4,)]


def test_what_a_catalog_shows_stays_until_the_next_one(root: Path) -> None:
    """Compacted and tidied up without any grace, the files that the published catalog stands on are still there."""
    storage = storage_at(root)
    append(
        storage, [event("feather", "late", State.ARCHIVED, on=day(1)), event("feather", "feather-1-1", State.FAILED, on=day(1))]
    )
    sql = "SELECT * FROM recordings ORDER BY ALL", "SELECT * FROM recording_attempts ORDER BY ALL", "SELECT * FROM coverage"
    before = [asked(root, each) for each in sql]
    for _ in range(2):
        Ledger(storage).fold("feather")
        Ledger(storage).pack("feather")
        shown = shown_generations(storage)["feather"]
        Ledger(storage).retire("feather", grace=timedelta(), shown=shown, before_delete=lambda _: None)
    assert [asked(root, each) for each in sql] == before
    publish(storage, SPECS, NOW)
    shown = shown_generations(storage)["feather"]
    assert Ledger(storage).retire("feather", grace=timedelta(), shown=shown, before_delete=lambda _: None) > 0
    assert [asked(root, each) for each in sql] == before


def test_a_publication_that_fails_leaves_the_former(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong while the file is built or put, the former catalog answers."""

    def full(*_: object) -> None:
        msg = "no space left"
        raise StorageError(msg)

    before = (root / CATALOG_NAME).read_bytes()
    monkeypatch.setattr(publication, "build", full)
    with pytest.raises(StorageError):
        publish(storage_at(root), SPECS, NOW)
    assert (root / CATALOG_NAME).read_bytes() == before
