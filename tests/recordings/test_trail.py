"""The audit trail: an edited, removed or inserted event is found and named."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.recordings.audit.verification import Verification, verify_day
from assets.recordings.ledger import Ledger, chain
from assets.recordings.lifecycle import State
from assets.recordings.manifest import publish_manifest, read_manifest
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
    copied = of(ledger, "c").with_name("2026-11-20_20991231T000000.000000Z-copied.parquet")
    shutil.copyfile(of(ledger, "c"), copied)
    made = copied.with_name("2026-11-20_20991231T000000.000000Z-made.parquet")
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


def manifest_place(ledger: Ledger, day: date = DAY) -> Path:
    """Return where the manifest of a day lies."""
    place = ledger.storage.local_path(f"manifests/provider=feather/date={day}/manifest-sha256.txt")
    assert place is not None
    return place


def whole(ledger: Ledger) -> dict[str, list[str]]:
    """Return what verify says of everything in the root that it knows of: path to words."""
    verification = Verification(ledger, "feather")
    found: dict[str, list[str]] = {}
    for verdict in [*(v for day in verification.days() for v in verification.check(day)), *verification.finish()]:
        if verdict.fault:
            found.setdefault(verdict.path, []).append(verdict.fault)
    return found


def write_rows(path: Path, rows: list[int]) -> None:
    """Write a Parquet file again with these of its rows, in this order."""
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array(rows, pa.int64())), path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([1, 0], "another order"),
        ([0, 1, 1], "1 rows are not as written"),
        ([0], "1 written ones are gone"),
        ([], "2 written ones"),
    ],
)
def test_rows_in_another_order_or_number_are_found_in_the_last_file_too(ledger: Ledger, rows: list[int], words: str) -> None:
    """Reordered, repeated and removed rows are named where neither a manifest nor a later file stands for the file yet."""
    ledger.append([event("y", day=NEXT), event("z", day=NEXT)], NOW + timedelta(seconds=9))
    path = files(ledger, NEXT)[-1]
    write_rows(path, rows)
    (said,) = whole(ledger)[relative(ledger, path)]
    assert words in said


@pytest.mark.parametrize("left", [0, 4, 100])
def test_a_truncated_last_file_is_called_damaged(ledger: Ledger, left: int) -> None:
    """A file that a broken disk cut short is not taken for somebody else's."""
    path = files(ledger, NEXT)[-1]
    path.write_bytes(path.read_bytes()[:left])
    assert whole(ledger) == {relative(ledger, path): ["this event file was damaged: it is not Parquet any more"]}


def test_two_files_that_were_exchanged_are_both_named(ledger: Ledger) -> None:
    """Each holds the path of the other one."""
    one, other = of(ledger, "b"), of(ledger, "c")
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    found = whole(ledger)
    assert found.keys() == {relative(ledger, one), relative(ledger, other)}
    assert relative(ledger, other) in found[relative(ledger, one)][0]


def test_the_last_file_of_a_writer_is_missed_after_a_fold(ledger: Ledger) -> None:
    """No manifest and no later file knows it: the compacted state does, which was made of it."""
    last = of(ledger, "d", NEXT)
    manifest_place(ledger).unlink()
    for path in files(ledger):
        path.unlink()  # also those that name it
    ledger.fold("feather")
    assert relative(ledger, last) not in whole(ledger)
    last.unlink()
    assert whole(ledger)[relative(ledger, last)] == ["this event file was removed: the compacted state was made of it"]


@pytest.mark.parametrize("witness", ["manifest", "fold", "chain"])
def test_a_partition_that_was_removed_is_missed(ledger: Ledger, witness: str) -> None:
    """A whole folder of events that is gone is named, file by file, by whichever witness is left."""
    if witness == "fold":
        ledger.fold("feather")
    known = {relative(ledger, path) for path in files(ledger)}
    if witness == "chain":
        first_of_all = relative(ledger, of(ledger, "b"))
        known = {first_of_all}
        of(ledger, "b").unlink()
        shutil.rmtree(manifest_place(ledger).parent)
        assert whole(ledger).keys() == known
        return
    if witness == "fold":
        shutil.rmtree(manifest_place(ledger).parent)
    for path in files(ledger):
        path.unlink()
    assert whole(ledger).keys() == known


def test_an_edited_line_of_the_manifest_is_told_from_an_edited_file(ledger: Ledger) -> None:
    """Where the writer's next file stands for the event file, the manifest is named; without it, both are doubted."""
    place = manifest_place(ledger)
    lines = read_manifest(ledger, "feather", DAY) or {}
    good = place.read_bytes()
    followed, last = relative(ledger, of(ledger, "b")), relative(ledger, of(ledger, "c"))
    place.write_bytes(good.replace(lines[followed].encode(), b"0" * 64))
    ((path, (words,)),) = whole(ledger).items()
    assert path == relative(ledger, place)
    assert followed in words
    place.write_bytes(good.replace(lines[last].encode(), b"0" * 64))
    ((path, (words,)),) = whole(ledger).items()
    assert path == last
    assert "one was changed" in words


def test_a_manifest_line_of_a_recording_is_compared_with_the_ledger(ledger: Ledger) -> None:
    """A manifest whose recordings are not the ledger's is named with the line, and so is one that is gone."""
    ledger.append([event("x", State.ARCHIVED, seq=2)], NOW + timedelta(seconds=5))
    publish_manifest(ledger, "feather", DAY)
    place = manifest_place(ledger)
    good = place.read_text()
    place.write_text(good.replace("ab" * 32, "ba" * 32))
    assert "recordings/x/main.mp4" in whole(ledger)[relative(ledger, place)][0]
    place.unlink()
    assert "missing" in whole(ledger)[relative(ledger, place)][0]


def test_a_compacted_state_that_the_events_do_not_give_is_named(ledger: Ledger) -> None:
    """Runs read the compacted state: one that was edited is found, with the recording."""
    ledger.fold("feather")
    root = ledger.storage.local_path()
    assert root is not None
    (state,) = (root / "lake/recordings/provider=feather").glob("date=2026-11-20/*.parquet")
    assert whole(ledger) == {}
    row = pq.read_table(state)["execution_id"].to_pylist().index("b")
    change(state, "state", row, "absent")
    ((path, (words,)),) = whole(ledger).items()
    assert path == relative(ledger, state)
    assert "feather/b/main" in words
    assert "recording-archive rebuild" in words


def test_an_edited_event_brings_no_other_fault_with_it(ledger: Ledger) -> None:
    """The row that was edited is named, and what it made of manifest and state is not, whatever column it was."""
    ledger.fold("feather")
    path = of(ledger, "b")
    row = pq.read_table(path)["execution_id"].to_pylist().index("b")
    for column, value in (("state", "absent"), ("seq", 99), ("execution_id", "elsewhere")):
        change(path, column, row, value)
        found = whole(ledger)
        assert found.keys() == {relative(ledger, path)}
        assert len(found[relative(ledger, path)]) == 1


def test_each_event_file_is_read_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of witnesses and partitions, one file costs one read."""
    read = Counter[str]()
    good = type(ledger.storage).read

    def reading(storage: ArchiveStorage, path: str) -> bytes:
        read[path] += 1
        return good(storage, path)

    monkeypatch.setattr(type(ledger.storage), "read", reading)
    assert whole(ledger) == {}
    events = {path: count for path, count in read.items() if path.startswith("lake/recording_tail/")}
    assert events == {relative(ledger, path): 1 for day in (DAY, NEXT) for path in files(ledger, day)}


def test_a_removed_line_of_an_event_file_is_missed_after_a_fold(ledger: Ledger) -> None:
    """Whoever folds writes the manifests before: a file that was folded and has no line lost it, and the manifest is named."""
    path = of(ledger, "c")
    place = manifest_place(ledger)
    lines = place.read_text().splitlines(keepends=True)
    place.write_text("".join(line for line in lines if path.name not in line))
    assert whole(ledger) == {}
    ledger.fold("feather")
    ((named, (words,)),) = whole(ledger).items()
    assert named == relative(ledger, place)
    assert path.name in words


def test_a_run_that_is_at_work_is_no_fault(ledger: Ledger) -> None:
    """What was archived since the manifest was written is in no line of it yet."""
    made = event("x", State.ARCHIVED, seq=2)
    assert made.copy is not None
    path = f"recordings/provider=feather/date={DAY}/x/main.mp4"
    ledger.append([replace(made, copy=replace(made.copy, path=path))], NOW + timedelta(seconds=5))
    assert [path for path in whole(ledger) if "manifest" in path] == []
    ledger.fold("feather")
    assert [path for path in whole(ledger) if "manifest" in path] == [relative(ledger, manifest_place(ledger))]


def test_a_recording_that_no_event_speaks_of_is_named(ledger: Ledger) -> None:
    """A recording is discovered before it is stored: without any event, its events are lost. One that is due is a note."""
    for name in ("a", "stranger"):
        ledger.storage.create(f"recordings/provider=feather/date={DAY}/{name}/main.mp4", b"x")
    ledger.storage.create(f"recordings/provider=feather/date={DAY}/.DS_Store", b"x")
    ledger.storage.create("recordings/provider=feather/date=2026-13-32/stray", b"x")
    found = whole(ledger)
    assert found == {
        f"recordings/provider=feather/date={DAY}/stranger/main.mp4": [
            "no event speaks of this recording: run `recording-archive rebuild`"
        ]
    }
    noted = [verdict.path.rpartition("/")[2] for verdict in verify_day(ledger, "feather", DAY) if verdict.note]
    assert noted == [".DS_Store", "main.mp4"]


def test_the_row_that_another_tool_changed_is_told_by_the_compacted_state(ledger: Ledger) -> None:
    """A tool that drops the writer's own words leaves the fold to tell which of the rows it changed."""
    ledger.append([event(name, day=NEXT) for name in "pqr"], NOW + timedelta(seconds=9))
    ledger.fold("feather")
    path = of(ledger, "q", NEXT)
    change(path, "attempts", 1, 7, keep_metadata=False)
    ((named, (words,)),) = whole(ledger).items()
    assert named == relative(ledger, path)
    assert "feather/q/main" in words
