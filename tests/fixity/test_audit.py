"""The audit: reads a part of the archive back each day, names what is bad, and fetches it again beside the evidence."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from assets.catalog.publication import publish
from assets.recordings import names
from assets.recordings.archiving import archive_day
from assets.recordings.audit import fixity, mending
from assets.recordings.audit.fixity import AuditReport, audit, next_part, part_of, read_progress
from assets.recordings.audit.readback import Reading, read_back
from assets.recordings.audit.rebuilding import rebuild
from assets.recordings.events import Flaw
from assets.recordings.lifecycle import Outcome, State
from assets.recordings.manifest import read_manifest
from assets.recordings.sidecar import read_sidecar
from resources.errors import SettingsError, StorageError
from resources.failpoints import Failpoint, hooked
from resources.model import Leg, RecordingKey
from resources.providers.registry import PROVIDERS
from tests.fixity.conftest import COUNT, DAYS, Heap
from tests.fixity.heap import PROVIDER, archived, faults, flip, names_of, notes, place_of


class Killed(BaseException):
    """The process is gone."""


def run(heap: Heap) -> AuditReport:
    """Audit what is due."""
    return audit(heap.archive, PROVIDER, "audit-run")


def media(heap: Heap) -> list[str]:
    """Return the copies that lie in the archive."""
    return [info.path for info in heap.archive.storage.list(names.RECORDINGS) if not info.path.endswith(names.SIDECAR_SUFFIX)]


def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths of the copies that audits read from now on."""
    seen: list[str] = []

    def reading(*args: object) -> Reading:
        seen.append(args[3].path)  # type: ignore[attr-defined]
        return read_back(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(mending, "read_back", reading)
    return seen


def test_a_cycle_reads_every_copy_once(filled: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
    """In so many days as the cycle has every copy is read, a part each day, and a second audit of a day reads nothing."""
    filled.set(fixity_cycle_days=4)
    seen = read_paths(monkeypatch)
    sizes = []
    for _ in range(4):
        report = run(filled)
        assert report.is_complete
        assert run(filled).copies == 0
        sizes.append(report.copies)
        filled.tomorrow()
    assert Counter(seen) == dict.fromkeys(media(filled), 1)
    assert sum(sizes) == COUNT
    assert max(sizes) < COUNT
    assert filled.provider.asked == []


def test_the_part_of_a_recording_never_changes() -> None:
    """Which part a recording belongs to is the same on every machine, and the parts are of about the same size."""
    keys = [RecordingKey("feather", name, Leg.MAIN) for name in names_of(3000)]
    assert [part_of(key, 30) for key in keys[:6]] == [27, 3, 6, 3, 26, 8]
    assert {count // 50 for count in Counter(part_of(key, 30) for key in keys).values()} == {1, 2}


def test_days_without_an_audit_are_made_up_for(filled: Heap) -> None:
    """After five days without an audit the parts of all of them are read; after a year, a whole cycle and not more."""
    filled.set(fixity_cycle_days=7)
    run(filled)
    filled.clock.offset += 5 * 86_400
    assert len(run(filled).parts) == 5
    filled.clock.offset += 365 * 86_400
    assert run(filled).copies == COUNT


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_a_bad_copy_is_named_and_fetched_again_beside_the_evidence(filled: Heap, harm: str) -> None:
    """The damaged object and its sidecar stay untouched, the new copy has the next number, ledger and manifest say so."""
    before = archived(filled.archive, DAYS)["call-000007"]
    place = place_of(filled.archive, before)
    sidecar = place.with_suffix(".json")
    written, facts = place.read_bytes(), sidecar.read_bytes()
    {"flip": lambda: flip(place), "truncate": lambda: place.write_bytes(written[:-1]), "delete": place.unlink}[harm]()
    harmed = place.read_bytes() if place.exists() else None

    report = run(filled)
    (finding,) = report.findings
    assert (finding.path, finding.mended) == (before.copy and before.copy.path, True)
    assert finding.flaw is (Flaw.MISSING if harm == "delete" else Flaw.DAMAGED)

    after = archived(filled.archive, DAYS)["call-000007"]
    assert (after.outcome, after.flaw, after.life) == (Outcome.REPAIRED, None, before.life)
    assert after.copy is not None
    assert after.copy.number == 2
    assert place_of(filled.archive, after).read_bytes() == written
    assert (place.read_bytes() if place.exists() else None) == harmed
    assert sidecar.read_bytes() == facts
    listed = read_manifest(filled.ledger, PROVIDER, before.day) or {}
    assert listed[after.copy.path] == after.copy.sha256
    assert before.copy is not None
    assert before.copy.path not in listed
    events = filled.ledger.events_table(PROVIDER).to_pylist()
    history = sorted((row["seq"], row["outcome"], row["flaw"]) for row in events if row["execution_id"] == "call-000007")
    assert history[-2:] == [(3, "damaged", finding.flaw.value), (4, "repaired", None)]

    assert faults(filled.archive, DAYS) == {}
    kept = {sidecar, place} if harmed is not None else {sidecar}
    assert {filled.archive.storage.local_path(path) for path in notes(filled.archive, DAYS)} == kept
    filled.tomorrow()
    assert run(filled).findings == []
    assert filled.provider.asked == ["call-000007"]


def test_what_cannot_be_fetched_is_named_and_taken_up_again(filled: Heap) -> None:
    """A copy that the platform has purged stays archived with its flaw; each audit comes back to it, until it can be had."""
    filled.set(fixity_cycle_days=30)
    event = archived(filled.archive, DAYS)["call-000003"]
    place_of(filled.archive, event).unlink()
    filled.provider.purged.add("call-000003")
    while "call-000003" not in filled.provider.asked:
        first = run(filled)
        filled.tomorrow()
    assert [(finding.mended, "purged" in finding.remedy) for finding in first.unmended] == [(False, True)]
    known = archived(filled.archive, DAYS)["call-000003"]
    assert (known.life.state, known.flaw, known.outcome) == (State.ARCHIVED, Flaw.MISSING, Outcome.DAMAGED)
    assert known.copy == event.copy
    assert "purged" in (known.detail or "")
    assert len(run(filled).unmended) == 1
    assert filled.provider.asked == ["call-000003"] * 2
    filled.provider.purged.clear()
    filled.tomorrow()
    assert [finding.mended for finding in run(filled).findings] == [True]
    assert archived(filled.archive, DAYS)["call-000003"].flaw is None


def test_a_copy_that_somebody_put_back_is_good_again(filled: Heap) -> None:
    """A copy that was restored from elsewhere needs no second one: its flaw goes away."""
    event = archived(filled.archive, DAYS)["call-000003"]
    place = place_of(filled.archive, event)
    filled.provider.purged.add("call-000003")
    data = place.read_bytes()
    place.unlink()
    run(filled)
    place.write_bytes(data)
    filled.tomorrow()
    assert [finding.mended for finding in run(filled).findings] == [True]
    known = archived(filled.archive, DAYS)["call-000003"]
    assert (known.outcome, known.flaw, known.copy) == (Outcome.RESTORED, None, event.copy)
    assert faults(filled.archive, DAYS) == {}


@pytest.mark.parametrize("harm", ["edit", "delete"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_sidecar_is_written_again_from_the_ledger(filled: Heap, harm: str, *, killed: bool) -> None:
    """A lost sidecar is written again, an odd one is kept under another name first; killed half-way it ends the same."""
    event = archived(filled.archive, DAYS)["call-000011"]
    sidecar = place_of(filled.archive, event).with_suffix(".json")
    odd = sidecar.read_bytes().replace(b'"attempts": 1', b'"attempts": 9')
    sidecar.write_bytes(odd)
    if harm == "delete":
        sidecar.unlink()
    if killed:
        with hooked(_killer(Failpoint.SIDECAR_RESTORED)), pytest.raises(Killed):
            run(filled)
    (finding,) = run(filled).findings
    assert (finding.mended, finding.flaw) == (True, None)
    known = archived(filled.archive, DAYS)["call-000011"]
    found = read_sidecar(filled.archive.storage, known.key, known.day)
    assert found is not None
    assert found[1] == known.copy
    assert (found[0].sha256, found[0].attempts, found[0].restored) == (event.copy and event.copy.sha256, 1, True)
    kept = [path for path in sidecar.parent.iterdir() if "evidence" in path.name]
    assert [path.read_bytes() for path in kept] == ([odd] if harm == "edit" else [])
    assert faults(filled.archive, DAYS) == {}
    assert filled.provider.asked == []


def _killer(place: Failpoint, left: int = 1) -> Callable[[Failpoint], None]:
    counted = [left]

    def kill(point: Failpoint) -> None:
        if point is place:
            counted[0] -= 1
            if counted[0] == 0:
                raise Killed

    return kill


@pytest.mark.parametrize("moment", ["noted", "published", "replaced"])
def test_a_repair_that_was_killed_ends_well_without_a_second_object(filled: Heap, moment: str) -> None:
    """Killed before the fetch, between copy and sidecar, or before the event: the next audit makes it whole, asking once."""
    event = archived(filled.archive, DAYS)["call-000005"]
    flip(place_of(filled.archive, event))
    place = Failpoint.DAMAGE_NOTED if moment == "noted" else Failpoint.COPY_REPLACED
    with hooked(_killer(place)), pytest.raises(Killed):
        run(filled)
    second = place_of(filled.archive, event).with_name("main.2.json")
    if moment == "published":
        second.unlink()
    (finding,) = run(filled).findings
    assert finding.mended
    assert filled.provider.asked == ["call-000005"]
    assert len(media(filled)) == COUNT + 1
    assert archived(filled.archive, DAYS)["call-000005"].outcome is Outcome.REPAIRED
    assert faults(filled.archive, DAYS) == {}


def test_evidence_among_the_numbers_is_passed_over(filled: Heap) -> None:
    """A second copy that went bad, or is gone but for its sidecar, is evidence: the next copy gets a number of its own."""
    for number in (2, 3):
        event = archived(filled.archive, DAYS)["call-000005"]
        flip(place_of(filled.archive, event))
        run(filled)
        filled.tomorrow()
        assert [number] == [event.copy.number for event in [archived(filled.archive, DAYS)["call-000005"]] if event.copy]
    event = archived(filled.archive, DAYS)["call-000005"]
    flip(place_of(filled.archive, event))
    fourth = place_of(filled.archive, event).with_name("main.4.json")
    fourth.write_text("{}")
    run(filled)
    known = archived(filled.archive, DAYS)["call-000005"]
    assert known.copy is not None
    assert known.copy.number == 5
    assert fourth.read_text() == "{}"
    assert faults(filled.archive, DAYS) == {}


def test_an_audit_whose_time_is_over_goes_on_the_next_time(filled: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in time it stops between two batches; the next one reads the rest, and nothing twice."""
    monkeypatch.setattr(fixity, "_BATCH_COPIES", 4)
    seen = read_paths(monkeypatch)
    moments = iter(range(10_000))
    runtime = filled.archive.runtime
    filled.archive.runtime = replace(runtime, monotonic=lambda: float(next(moments)))
    filled.set(fixity_max_seconds=3.0)
    reports = [run(filled)]
    assert 0 < reports[0].copies < COUNT
    assert (reports[0].is_complete, reports[0].days_behind) == (False, 1)
    while not reports[-1].is_complete:
        reports.append(run(filled))
    assert Counter(seen) == dict.fromkeys(media(filled), 1)


def test_an_audit_that_was_killed_goes_on_where_it_stopped(filled: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read since the last note is read again, the rest is not; a fault that was found before the kill is not lost."""
    monkeypatch.setattr(fixity, "_BATCH_COPIES", 4)
    order = sorted(archived(filled.archive, DAYS).values(), key=lambda event: fixity.position(event.key))
    flip(place_of(filled.archive, order[1]))
    seen = read_paths(monkeypatch)
    with hooked(_killer(Failpoint.AUDIT_READ, 3)), pytest.raises(Killed):
        run(filled)
    progress = read_progress(filled.archive.storage, PROVIDER)
    assert progress is not None
    assert progress.after == fixity.position(order[7].key)
    run(filled)
    again = {event.copy.path for event in order[8:12] if event.copy is not None}
    assert Counter(seen) == {path: 1 + (path in again) for path in seen}
    assert len(set(seen)) == COUNT
    assert archived(filled.archive, DAYS)[order[1].key.execution_id].outcome is Outcome.REPAIRED


def test_two_audits_at_once_are_harmless(filled: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both end well; each bad copy is replaced once, and all is read."""
    monkeypatch.setattr(fixity, "_BATCH_COPIES", 4)
    for name in ("call-000002", "call-000013"):
        flip(place_of(filled.archive, archived(filled.archive, DAYS)[name]))
    seen = read_paths(monkeypatch)
    twin = replace(filled.archive, _media=None)
    errors: list[BaseException] = []

    def audit_one(archive: object) -> None:
        try:
            audit(archive, PROVIDER, "audit")  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 -- shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=audit_one, args=(archive,)) for archive in (filled.archive, twin)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if twin._media is not None:
        twin._media.close()
    assert errors == []
    assert len(set(seen) & set(media(filled))) >= COUNT
    assert len(media(filled)) == COUNT + 2
    assert faults(filled.archive, DAYS) == {}


def test_more_faults_than_a_person_expects_are_named_and_not_fetched(filled: Heap) -> None:
    """When a whole disk is gone the provider is asked for no more than ``FIXITY_MAX_REPAIRS`` copies; all are named."""
    filled.set(fixity_max_repairs=3)
    for event in archived(filled.archive, DAYS).values():
        place_of(filled.archive, event).unlink()
    report = run(filled)
    assert (len(report.findings), len(report.mended), len(filled.provider.asked)) == (COUNT, 3, 3)
    assert any("FIXITY_MAX_REPAIRS" in finding.remedy for finding in report.unmended)
    flaws = Counter(event.flaw for event in archived(filled.archive, DAYS).values())
    assert flaws == {Flaw.MISSING: COUNT - 3, None: 3}


def test_without_a_key_damage_is_named_all_the_same(filled: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is off cannot give a copy again; the audit says so, and goes on."""
    flip(place_of(filled.archive, archived(filled.archive, DAYS)["call-000004"]))

    def off(_archive: object, _name: str) -> None:
        msg = "feather is off: FEATHER_API_KEY is not set"
        raise SettingsError(msg)

    monkeypatch.setattr(type(filled.archive), "provider", off)
    report = run(filled)
    assert report.copies == COUNT
    assert ["FEATHER_API_KEY" in finding.remedy for finding in report.unmended] == [True]


def test_a_root_that_cannot_be_read_is_no_damage(filled: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the root refuses copy after copy the audit fails clearly, and does not move on."""

    def refuse(_storage: object, path: str) -> None:
        msg = f"cannot read {path}: the endpoint cannot be reached"
        raise StorageError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(type(filled.archive.storage), "open", refuse)
        with pytest.raises(StorageError, match="3 copies in a row cannot be read"):
            run(filled)
    assert read_progress(filled.archive.storage, PROVIDER) is None
    run(filled)
    filled.tomorrow()
    assert run(filled).copies == COUNT
    assert {event.flaw for event in archived(filled.archive, DAYS).values()} == {None}


def test_a_changed_cycle_begins_a_new_part() -> None:
    """Another number of days divides the archive anew; what was begun under the old number is not gone on with."""
    first = next_part(None, date_of(1), 30)
    assert first is not None
    again = next_part(first, date_of(2), 10)
    assert again is not None
    assert (again.cycle_days, again.after, again.day) == (10, "", date_of(2))


def date_of(day: int) -> fixity.date:
    """Return a day of the heap's month."""
    return fixity.date(2026, 11, day)


def test_progress_of_another_make_is_no_obstacle(filled: Heap) -> None:
    """A note of progress that cannot be read begins the cycle again."""
    filled.archive.storage.write(names.audit_path(PROVIDER), b"{nonsense")
    assert run(filled).copies == COUNT


def test_the_catalog_says_when_it_was_archived_and_not_when_it_was_found_bad(filled: Heap) -> None:
    """An audit's event does not change when a copy was archived; a new copy has a new time."""
    event = archived(filled.archive, DAYS)["call-000006"]
    place: Path = place_of(filled.archive, event)
    place.unlink()
    filled.provider.purged.add("call-000006")
    filled.tomorrow()
    run(filled)
    known = archived(filled.archive, DAYS)["call-000006"]
    assert known.copy is not None
    assert event.copy is not None
    assert known.at > event.at
    assert known.copy.archived_at == event.copy.archived_at is not None
    publish(filled.archive.storage, PROVIDERS.values(), filled.archive.runtime.now())
    catalog = filled.archive.storage.local_path("archive.duckdb")
    with duckdb.connect(str(catalog), read_only=True) as connection:
        sql = "SELECT archived_at, flaw, last_outcome FROM recordings WHERE flaw IS NOT NULL"
        assert connection.execute(sql).fetchall() == [(event.copy.archived_at, "missing", "damaged")]


def test_a_damaged_copy_without_an_event_is_not_adopted(filled: Heap) -> None:
    """Without its event, and with other bytes than its sidecar says, nothing is declared archived; the run says what to do."""
    event = archived(filled.archive, DAYS)["call-000006"]
    flip(place_of(filled.archive, event))
    later = filled.ledger.event_files(PROVIDER, event.day)[1:]
    states = [info.path for info in filled.archive.storage.list(names.STATES)]
    for path in [*later, *states]:
        filled.archive.storage.delete(path)
    report = archive_day(filled.archive, PROVIDER, event.day, "again")
    assert report.states[State.ARCHIVED] == COUNT // DAYS - 1
    (fault,) = report.faults
    assert "recording-archive rebuild" in fault.detail
    assert filled.provider.asked == []
    assert rebuild(filled.archive, PROVIDERS[PROVIDER]).needs_a_person
    assert len(run(filled).mended) == 1
    assert archived(filled.archive, DAYS)["call-000006"].outcome is Outcome.REPAIRED
