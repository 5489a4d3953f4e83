"""The audit trail: an edited, removed or inserted event is found and named."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.recordings import chain
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import State
from assets.recordings.manifest import publish_manifest, read_manifest
from assets.recordings.verification import verify_day
from resources.errors import StorageError
from resources.storage import ArchiveStorage, open_storage
from tests.recordings.test_ledger import event

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY, NEXT = date(2026, 11, 20), date(2026, 11, 21)


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """Return an empty root on local disk."""
    return open_storage(str(tmp_path / "root"))


@pytest.fixture
def ledger(storage: ArchiveStorage) -> Ledger:
    """Return a ledger with two writers' files on two days; the manifest of the first day knows its files."""
    first, second = Ledger(storage), Ledger(storage)
    first.append([event("a"), event("b")], NOW)
    second.append([event("c")], NOW)
    first.append([event("d", day=NEXT)], NOW + timedelta(seconds=1))
    first.append([event("a", State.NOT_READY, seq=2)], NOW + timedelta(seconds=2))
    publish_manifest(first, "feather", DAY)
    return first


def files(ledger: Ledger, day: date = DAY) -> list[Path]:
    """Return the event files of a day, oldest first."""
    places = [ledger.storage.local_path(path) for path in ledger.event_files("feather", day)]
    return [place for place in places if place is not None]


def relative(ledger: Ledger, path: Path) -> str:
    """Return a file's path as the archive says it."""
    root = ledger.storage.local_path()
    assert root is not None
    return path.relative_to(root).as_posix()


def faults(ledger: Ledger, day: date = DAY) -> dict[str, list[str]]:
    """Return what verify says of a day: path to words."""
    found: dict[str, list[str]] = {}
    for verdict in verify_day(ledger, "feather", day):
        if verdict.fault and "recordings/x" not in verdict.path:
            found.setdefault(verdict.path, []).append(verdict.fault)
    return found


def change(path: Path, column: str, row: int, value: object, *, keep_metadata: bool = True) -> None:
    """Write a Parquet file again with one other cell."""
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    position = table.schema.get_field_index(column)
    table = table.set_column(position, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    pq.write_table(table if keep_metadata else table.replace_schema_metadata(None), path)


def of(ledger: Ledger, execution_id: str, day: date = DAY) -> Path:
    """Return the first event file that holds an execution."""
    return next(path for path in files(ledger, day) if execution_id in pq.read_table(path)["execution_id"].to_pylist())


def test_an_untouched_ledger_has_no_fault(ledger: Ledger) -> None:
    """What writers wrote is what verify expects, whether the manifest knows it already or not."""
    assert faults(ledger) == faults(ledger, NEXT) == {}
    ledger.append([event("e")], NOW + timedelta(seconds=3))
    assert faults(ledger) == {}
    assert read_manifest(ledger, "feather", NEXT) is None


def test_an_edited_event_row_is_named(ledger: Ledger) -> None:
    """One changed cell names the file, the event and the recording; its neighbour in the file is not blamed."""
    path = of(ledger, "b")
    row = pq.read_table(path)["execution_id"].to_pylist().index("b")
    change(path, "outcome", row, "archived")
    (said,) = faults(ledger)[relative(ledger, path)]
    assert "feather/b/main" in said
    assert "edited" in said


def test_an_edit_is_found_without_the_manifest(ledger: Ledger) -> None:
    """The writer's next file holds the hash, in another partition too."""
    path = of(ledger, "b")
    change(path, "detail", 0, "nothing happened")
    manifest = ledger.storage.local_path("manifests/provider=feather/date=2026-11-20/manifest-sha256.txt")
    assert manifest is not None
    manifest.unlink()
    assert relative(ledger, path) in faults(ledger)
    assert relative(ledger, path) in faults(ledger, NEXT)


def test_an_edit_that_drops_the_chain_is_found(ledger: Ledger) -> None:
    """A tool that writes the rows again without our metadata is found, before the manifest knows the file as well."""
    ledger.append([event("e")], NOW + timedelta(seconds=3))
    for name in ("c", "e"):
        change(of(ledger, name), "attempts", 0, 0, keep_metadata=False)
        assert relative(ledger, of(ledger, name)) in faults(ledger)


def test_a_removed_event_file_is_named(ledger: Ledger) -> None:
    """By the manifest; and by the writer's next file where there is no manifest."""
    known, unknown = of(ledger, "c"), of(ledger, "d", NEXT)
    known.unlink()
    unknown.unlink()
    assert faults(ledger) == {
        relative(ledger, known): ["this event file was removed: the manifest knows it"],
        relative(ledger, unknown): [
            f"this event file was removed: its writer's next one knows it ({relative(ledger, files(ledger)[-1])})"
        ],
    }


def test_an_inserted_event_file_is_named(ledger: Ledger) -> None:
    """A copy of another file, and a file that somebody made, are named and never taken into the manifest."""
    copied = of(ledger, "c").with_name("20991231T000000.000000Z-copied.parquet")
    shutil.copyfile(of(ledger, "c"), copied)
    made = copied.with_name("20991231T000000.000000Z-made.parquet")
    pq.write_table(pq.read_table(of(ledger, "c")).replace_schema_metadata(None), made)
    publish_manifest(ledger, "feather", DAY)
    for path in (copied, made):
        (said,) = faults(ledger)[relative(ledger, path)]
        assert "put there by somebody else" in said
        assert relative(ledger, path) not in (read_manifest(ledger, "feather", DAY) or {})


def test_a_row_inserted_into_a_file_is_named(ledger: Ledger) -> None:
    """The stranger among the rows is named, and the others are not."""
    path = of(ledger, "c")
    table = pq.read_table(path)
    stranger = table.set_column(table.schema.get_field_index("execution_id"), "execution_id", pa.array(["z"]))
    pq.write_table(pa.concat_tables([table, stranger.cast(table.schema)]), path)
    (said,) = faults(ledger)[relative(ledger, path)]
    assert "feather/z/main" in said


def test_the_manifest_is_a_witness_and_not_a_picture(ledger: Ledger) -> None:
    """Publishing again after an edit or a removal keeps the lines of the events: the fault does not go away by itself."""
    edited, removed = of(ledger, "b"), of(ledger, "c")
    change(edited, "detail", 0, "nothing happened")
    removed.unlink()
    publish_manifest(ledger, "feather", DAY)
    assert set(faults(ledger)) == {relative(ledger, edited), relative(ledger, removed)}


def test_a_damaged_event_file_is_named_and_the_check_goes_on(ledger: Ledger) -> None:
    """Bytes that are no Parquet any more are named, like a value that no version ever wrote; the run itself refuses them."""
    path = of(ledger, "c")
    path.write_bytes(path.read_bytes()[:-20])
    assert relative(ledger, path) in faults(ledger)
    with pytest.raises(StorageError, match=r"damaged .*: restore it from a copy"):
        ledger.read_day("feather", DAY)
    change(of(ledger, "d", NEXT), "state", 0, "nonsense")
    assert relative(ledger, of(ledger, "d", NEXT)) in faults(ledger, NEXT)
    with pytest.raises(StorageError, match="nonsense"):
        ledger.read_day("feather", NEXT)


def test_a_write_that_fails_does_not_break_the_chain(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused file is not named by the next one; one that was stored although it was said to have failed is no fault either."""
    create = ledger.storage.create
    answers: list[Callable[[str, bytes], None]] = [lambda *_: None, create]

    def failing(path: str, data: bytes) -> None:
        answers.pop()(path, data)
        msg = "the connection broke"
        raise StorageError(msg)

    monkeypatch.setattr(ledger.storage, "create", failing)
    for moment in (3, 4):
        with pytest.raises(StorageError, match="connection"):
            ledger.append([event("e", seq=moment)], NOW + timedelta(seconds=moment))
    monkeypatch.setattr(ledger.storage, "create", create)
    ledger.append([event("e", seq=5)], NOW + timedelta(seconds=5))
    publish_manifest(ledger, "feather", DAY)
    assert faults(ledger) == {}


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_cell_is_found(ledger: Ledger, data: st.DataObject) -> None:
    """Whatever column of whatever row is changed or emptied, the row is named."""
    path = data.draw(st.sampled_from(files(ledger)))
    before = path.read_bytes()
    table = pq.read_table(path)
    column = data.draw(st.sampled_from(table.column_names))
    row = data.draw(st.integers(0, table.num_rows - 1))
    kind = table.schema.field(column).type
    other = pc.add(pa.scalar(data.draw(st.integers(1, 99))), 0).as_py()
    value = None if table[column][row].as_py() is not None else _sample(kind, other)
    change(path, column, row, value)
    try:
        file = chain.read_event_file(relative(ledger, path), path.read_bytes())
        assert len(file.strange_rows) == 1
        assert file.lost_rows == 1
        assert relative(ledger, path) in faults(ledger)
    finally:
        path.write_bytes(before)


def _sample(kind: pa.DataType, number: int) -> object:
    """Return a value of an Arrow type."""
    if pa.types.is_string(kind):
        return str(number)
    if pa.types.is_timestamp(kind):
        return NOW + timedelta(days=number)
    if pa.types.is_date(kind):
        return DAY + timedelta(days=number)
    return number


def test_digests_are_the_same_for_writer_and_reader(storage: ArchiveStorage) -> None:
    """What is digested is what a reader will see: every type of the schema comes back the same."""
    ledger = Ledger(storage)
    ledger.append([event("a"), event("b", State.ARCHIVED)], NOW)
    (path,) = ledger.event_files("feather", DAY)
    file = chain.read_event_file(path, storage.read(path))
    assert file.is_own
    assert file.link is not None
    assert (file.link.number, file.link.previous, len(file.link.rows)) == (1, "", 2)
    assert chain.read_event_file(path, io.BytesIO(b"PAR1").getvalue()).rows is None
