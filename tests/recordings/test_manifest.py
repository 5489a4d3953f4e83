"""The manifest of a day, made from columns, is to the byte what one by one the events and the files in the root say."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from assets.recordings import manifest, names
from assets.recordings.compaction import compact, fold
from assets.recordings.events import Copy, Event, Flaw, to_table
from assets.recordings.ledger import Ledger, places
from assets.recordings.ledger.chain import EventFile, read_event_file
from assets.recordings.lifecycle import Outcome, State
from assets.recordings.manifest import publish_manifest
from resources.errors import StorageError
from resources.model import Leg, RecordingKey
from resources.storage import open_storage
from tests.recordings.test_ledger import DAY, NOW, event

PAST = [date(2026, 9, 1), date(2026, 9, 2)]
DAYS = [*PAST, DAY]
LATER = timedelta(hours=1)
NO_GRACE = timedelta(0)
EVERY_MONTH = timedelta(days=-31)
ODD = "Call/../\N{GREEK SMALL LETTER ALPHA} 1"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger on local disk."""
    return Ledger(open_storage(str(tmp_path / "root")))


def copied(name: str, number: int = 1, *, leg: Leg = Leg.MAIN, day: date = DAY, seq: int = 2, epoch: int = 0) -> Event:
    """Return the event of an archived copy, with sums of its own."""
    stem = leg.value if number == 1 else f"{leg.value}.{number}"
    sums = [hashlib.sha256(f"{name}{leg}{number}{day}{what}".encode()).hexdigest() for what in ("copy", "sidecar")]
    path = f"recordings/provider=feather/date={day}/{names.safe_id(name)}/{stem}.mp4"
    made = event(name, State.ARCHIVED, seq=seq, epoch=epoch, day=day)
    key = RecordingKey("feather", name, leg)
    return replace(made, key=key, copy=Copy(path, 3, sums[0], "video/mp4", sums[1], number))


def expected(ledger: Ledger, events: list[Event], day: date) -> bytes:
    """Return the manifest as somebody would write it by hand: each recording's greatest event, and the files that lie there."""
    lines = dict[str, str]()
    for key in {each.key for each in events if each.day == day}:
        winner = max((each for each in events if each.key == key and each.day == day), key=lambda each: each.order)
        if winner.copy is not None:
            lines[winner.copy.path] = winner.copy.sha256
            lines[winner.copy.path.removesuffix(".mp4") + ".json"] = winner.copy.sidecar_sha256
    for tree in (names.TAIL, names.EVENTS):
        for info in ledger.storage.list(f"{tree}/provider=feather"):
            if places.is_events(info.path) and places.day_of(info.path) == day:
                lines[info.path] = hashlib.sha256(ledger.storage.read(info.path)).hexdigest()
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(lines.items())).encode()


def stored(ledger: Ledger, day: date) -> bytes:
    """Return the manifest as it lies in the root."""
    return ledger.storage.read(names.manifest_path("feather", day))


def check(ledger: Ledger, events: list[Event], days: list[date]) -> None:
    """Publish the manifests of some days and compare them."""
    for day in days:
        lines = expected(ledger, events, day)
        copies = sum(line.endswith(b".mp4") for line in lines.splitlines())
        assert publish_manifest(ledger, "feather", day) == copies
        assert stored(ledger, day) == lines


def history(day: date) -> list[list[Event]]:
    """Return files of events of one day: what can become of a recording, and what may be said of one twice."""
    both = [event(name, day=day) for name in ("plain", ODD, "asked", "bad", "again", "flawed", "redated", "nul")]
    legs = [replace(each, key=replace(each.key, leg=Leg.SUPERVISOR)) for each in both]
    refused = [
        replace(event("bad", State.FAILED, seq=2, day=day), outcome=Outcome.NOT_MEDIA),
        event("nul", State.BLOCKED, seq=2, day=day),
    ]
    first = [copied(name, day=day) for name in ("plain", ODD, "asked", "flawed")]
    first += [copied(name, leg=Leg.SUPERVISOR, day=day) for name in ("plain", ODD)]
    damaged = replace(first[3], flaw=Flaw.DAMAGED, seq=3, event_id="f" * 32)
    return [
        [*both, *legs],
        [*refused, *first],
        [damaged, copied("flawed", 2, day=day, seq=4)],
        # A slow run, which knows of none of this: archived wins, and the newest copy.
        [event("plain", State.FAILED, seq=90, day=day), copied("flawed", 1, day=day, seq=91, epoch=3)],
        [event("asked", State.PENDING, seq=5, epoch=1, day=day), copied("asked", 11, day=day, seq=6, epoch=1)],
        [copied("again", 1, day=day, seq=2), copied("again", 1, day=day, seq=2)],
    ]


def test_each_line_is_what_the_winning_event_says(ledger: Ledger) -> None:
    """From the tail alone, from state and tail together, from a state, compacted, and from its month's file."""
    events = list[Event]()
    for number in range(len(history(DAY))):
        for day in DAYS:
            files = history(day)
            ledger.append(files[number], NOW + number * LATER)
            events += files[number]
        check(ledger, events, DAYS)
        if number % 2:
            ledger.fold("feather")
            check(ledger, events, DAYS)
    fold(ledger, "feather")
    check(ledger, events, DAYS)
    assert compact(ledger, "feather", grace=NO_GRACE, shown=None).months == (PAST[0],)
    for day in DAYS:
        assert stored(ledger, day) == expected(ledger, events, day), "the compaction has written it"
    check(ledger, events, DAYS)
    late = copied("late", day=PAST[1])
    ledger.append([late], NOW)
    check(ledger, [*events, late], DAYS)


def test_files_of_older_versions_have_first_copies(ledger: Ledger) -> None:
    """Those did not count copies, and had fewer columns; their lines are none of the event file's, which has no chain."""
    events = [event("a"), copied("a"), copied(ODD)]
    table = to_table(events)
    old = table.drop_columns(["number", "media_seconds", "flaw", "expected_seconds", "absences", "archived_at"])
    path = places.new_event_path("feather", DAY, NOW, "old")
    for each in (old, table.set_column(table.column_names.index("number"), "number", pa.nulls(3, pa.int32()))):
        ledger.storage.delete(path)
        sink = pa.BufferOutputStream()
        pq.write_table(each, sink)
        ledger.storage.create(path, sink.getvalue().to_pybytes())
        assert publish_manifest(ledger, "feather", DAY) == 2
        of_file = f"{hashlib.sha256(ledger.storage.read(path)).hexdigest()}  {path}\n".encode()
        assert stored(ledger, DAY) == expected(ledger, events, DAY).replace(of_file, b"")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", pa.array(["dreaming"])),
        ("leg", pa.array(["third"])),
        ("date", pa.array([PAST[0]])),
        ("epoch", pa.nulls(1, pa.int64())),
        ("path", pa.array([b"\xff\xfe"]).view(pa.string())),
    ],
)
def test_what_decides_a_line_and_is_damaged_is_named(ledger: Ledger, column: str, value: pa.Array) -> None:
    """No manifest is written then."""
    path = places.new_event_path("feather", DAY, NOW, "bad")
    table = to_table([copied("a")])
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(table.column_names.index(column), column, value), sink)
    ledger.storage.create(path, sink.getvalue().to_pybytes())
    with pytest.raises(StorageError, match="is damaged"):
        publish_manifest(ledger, "feather", DAY)
    assert manifest.read_manifest(ledger, "feather", DAY) is None


def test_a_publication_reads_what_is_new_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again after it wrote, and takes apart what has come in between; of what leaves, nothing."""
    events, late, taken_apart = [event("a"), event("b")], copied("a"), list[str]()
    for each in events:
        ledger.append([each], NOW)

    def read(path: str, data: bytes) -> EventFile:
        if not taken_apart:
            Ledger(ledger.storage).append([late], NOW)
        taken_apart.append(path)
        return read_event_file(path, data)

    monkeypatch.setattr(manifest, "read_event_file", read)
    assert publish_manifest(ledger, "feather", DAY) == 1
    appended = ledger.event_files("feather", DAY)
    assert sorted(taken_apart) == sorted(appended)
    assert stored(ledger, DAY) == expected(ledger, [*events, late], DAY)

    fold(ledger, "feather")
    ledger.pack("feather")
    (packed,), compacted = ledger.history_files("feather", DAY), list[str]()
    read_history = Ledger.read_history
    monkeypatch.setattr(Ledger, "read_history", lambda self, path: [compacted.append(path), read_history(self, path)][1])
    publish_manifest(ledger, "feather", DAY, leaving=appended)
    assert (sorted(taken_apart), compacted) == (sorted(appended), [packed])
    for path in appended:
        ledger.storage.delete(path)
    assert stored(ledger, DAY) == expected(ledger, [*events, late], DAY)


EVENTS = st.builds(
    lambda made, number, leg, epoch: (
        replace(copied(made.key.execution_id, number, leg=leg, day=made.day, seq=made.seq, epoch=epoch), life=made.life)
        if number and (made.life.state is State.ARCHIVED or number == 2)
        else replace(made, key=replace(made.key, leg=leg), copy=None)
    ),
    made=st.builds(
        event,
        name=st.sampled_from(["a", "b", ODD]),
        state=st.sampled_from(list(State)),
        day=st.sampled_from(DAYS),
        seq=st.integers(1, 4),
        epoch=st.integers(0, 1),
    ),
    number=st.integers(0, 3),
    leg=st.sampled_from(list(Leg)),
    epoch=st.integers(0, 1),
)
STEPS = st.lists(st.one_of(st.lists(EVENTS, min_size=1, max_size=5), st.sampled_from(["fold", "tidy", "publish"])), max_size=8)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_whatever_was_written_the_manifest_is_that_of_its_winners(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[Event] | str]
) -> None:
    """In any order of histories, folds, compactions and publications, also for events that no run would write."""
    ledger, written = Ledger(open_storage(str(tmp_path_factory.mktemp("root")))), list[Event]()
    for step in steps:
        if step == "fold":
            fold(ledger, "feather")
        elif step == "tidy":
            fold(ledger, "feather")
            compact(ledger, "feather", grace=NO_GRACE, shown=None, settled=EVERY_MONTH)
        elif isinstance(step, str):
            check(ledger, written, sorted({each.day for each in written}))
        else:
            ledger.append(step, NOW)
            written += step
    check(ledger, written, sorted({each.day for each in written}))
