"""The rebuild: what follows from recordings, sidecars and events is made again; lost events too, from the sidecars."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assets.executions import lake
from assets.executions.intake import Row
from assets.recordings import names
from assets.recordings.audit.fixity import audit
from assets.recordings.audit.rebuilding import RebuildReport, rebuild
from assets.recordings.audit.verification import verify_day
from assets.recordings.events import Flaw
from assets.recordings.lifecycle import Outcome, State
from resources.failpoints import Failpoint, hooked
from resources.providers.registry import PROVIDERS
from tests.fixity.conftest import COUNT, DAYS, Heap
from tests.fixity.heap import FIRST, PROVIDER, archived, days_of, faults, flip, place_of
from tests.fixity.test_audit import Killed

SPEC = PROVIDERS[PROVIDER]
DERIVED = (names.STATES, names.LEDGER, names.MANIFESTS)


def run(heap: Heap, *, accept_loss: bool = False) -> RebuildReport:
    """Rebuild the one provider."""
    return rebuild(heap.archive, SPEC, accept_loss=accept_loss)


def remove(heap: Heap, *trees: str) -> None:
    """Remove whole folders of the root."""
    for tree in trees:
        place = heap.archive.storage.local_path(tree)
        assert place is not None
        shutil.rmtree(place)


def manifests(heap: Heap) -> dict[str, bytes]:
    """Return the bytes of every manifest."""
    return {info.path: heap.archive.storage.read(info.path) for info in heap.archive.storage.list(names.MANIFESTS)}


def rows(heap: Heap) -> list[dict[str, Any]]:
    """Return the state of every recording, every column of it."""
    return heap.ledger.state_table(PROVIDER).to_pylist()


def event_places(heap: Heap, day: int = 0) -> list[Path]:
    """Return where the event files of a day lie, oldest first."""
    listed = heap.ledger.event_files(PROVIDER, days_of(DAYS)[day])
    return [place for path in listed if (place := heap.archive.storage.local_path(path)) is not None]


def facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an archived recording that do not speak of the event itself."""
    about_the_event = ("event_id", "seq", "at", "run_id", "outcome", "detail", "api_base", "proved_base", "seconds")
    about_the_waiting = ("eligible_since", "trying_since", "ended_at", "next_attempt_at")
    return {name: value for name, value in row.items() if name not in about_the_event + about_the_waiting}


@pytest.mark.parametrize("lost", [(names.STATES,), (names.LEDGER,), (names.STATES, names.LEDGER), (names.MANIFESTS,), DERIVED])
def test_what_is_derived_comes_back_to_the_row_and_to_the_byte(filled: Heap, lost: tuple[str, ...]) -> None:
    """State and manifests are the same again; no event is written for it, however often it is done."""
    before, sums, events = rows(filled), manifests(filled), filled.ledger.events_table(PROVIDER)
    remove(filled, *lost)
    for _ in range(2):
        report = run(filled)
        assert (report.rebuilt, report.adopted, report.salvaged, report.discovered) == (0, 0, 0, 0)
        assert (report.recordings, report.needs_a_person) == (COUNT, False)
        assert rows(filled) == before
        assert manifests(filled) == sums
        assert filled.ledger.events_table(PROVIDER) == events
    assert faults(filled.archive, DAYS) == {}


def test_a_state_that_was_edited_is_made_again_from_the_events(filled: Heap) -> None:
    """The compacted state is never believed against the events."""
    before = rows(filled)
    part = next(iter(filled.ledger.partitions(PROVIDER).values()))
    place = filled.archive.storage.local_path(part.state)
    assert place is not None
    lake.pq.write_table(filled.ledger.state_of(PROVIDER, part).slice(1), place)
    assert len(rows(filled)) == COUNT - 1
    run(filled)
    assert rows(filled) == before


def test_the_archived_state_comes_back_from_the_sidecars(filled: Heap) -> None:
    """With all events lost, every recording is archived as before: path, hash, times and tries; nothing is asked."""
    flip(place_of(filled.archive, archived(filled.archive, DAYS)["call-000004"]))
    audit(filled.archive, PROVIDER, "audit")
    before = rows(filled)
    sums = {line for data in manifests(filled).values() for line in data.splitlines() if b"recording_tail" not in line}
    remove(filled, names.TAIL, *DERIVED)
    filled.provider.asked.clear()
    report = run(filled)
    assert (report.rebuilt, report.needs_a_person) == (COUNT, False)
    assert [facts(row) for row in rows(filled)] == [facts(row) for row in before]
    assert {row["outcome"] for row in rows(filled)} == {"rebuilt"}
    again = {line for data in manifests(filled).values() for line in data.splitlines() if b"recording_tail" not in line}
    assert again == sums
    assert faults(filled.archive, DAYS) == {}
    assert run(filled).rebuilt == 0
    assert filled.provider.asked == []


def test_a_recording_without_any_sidecar_is_known_by_its_bytes(filled: Heap) -> None:
    """Its facts are measured, and its sidecar is written; of one whose id nobody knows the path is named."""
    before = rows(filled)
    event = archived(filled.archive, DAYS)["call-000009"]
    place_of(filled.archive, event).with_suffix(".json").unlink()
    folder = place_of(filled.archive, event).parent
    shutil.copytree(folder, folder.with_name("caf_~0123456789abcdef0123456789abcdef"))
    remove(filled, names.TAIL, *DERIVED)
    report = run(filled)
    assert (report.rebuilt, report.adopted) == (COUNT - 1, 0)
    assert sorted(path.rpartition("/")[0].rpartition("/")[2] for path, _ in report.faults) == [
        "caf_~0123456789abcdef0123456789abcdef",
        "call-000009",
    ]
    shutil.rmtree(folder.with_name("caf_~0123456789abcdef0123456789abcdef"))
    write_executions(filled, ["call-000009"])
    report = run(filled)
    assert (report.rebuilt, report.adopted, report.needs_a_person) == (0, 1, False)
    assert [row["sha256"] for row in rows(filled)] == [row["sha256"] for row in before]
    assert faults(filled.archive, DAYS) == {}


def write_executions(heap: Heap, ids: list[str]) -> None:
    """Write executions of the first day into the lake."""
    now = heap.clock.now()
    made = [
        Row(name, now, f'{{"id": "{name}", "createdAt": "{FIRST}T10:00:00Z", "status": "COMPLETED"}}', now, now) for name in ids
    ]
    lake.write_partition(heap.archive.storage, SPEC, FIRST, made)


def test_what_cannot_be_proven_is_named_and_not_declared_good(filled: Heap) -> None:
    """A sidecar whose recording is missing or differs gives an archived recording with a flaw, which the audit takes up."""
    known = archived(filled.archive, DAYS)
    flip(place_of(filled.archive, known["call-000001"]))
    place_of(filled.archive, known["call-000002"]).unlink()
    remove(filled, names.TAIL, *DERIVED)
    report = run(filled)
    assert report.needs_a_person
    assert {path for path, _ in report.faults} == {
        event.copy.path for name in ("call-000001", "call-000002") if (event := known[name]).copy is not None
    }
    flaws = {name: event.flaw for name, event in archived(filled.archive, DAYS).items() if event.flaw is not None}
    assert flaws == {"call-000001": Flaw.DAMAGED, "call-000002": Flaw.MISSING}
    assert len(audit(filled.archive, PROVIDER, "audit").mended) == 2
    assert faults(filled.archive, DAYS) == {}


def test_events_of_some_recordings_are_lost(filled: Heap) -> None:
    """Files that are gone are named and stay named; what they said comes back from the compacted state, or from sidecars."""
    before = rows(filled)
    for path in event_places(filled)[1:]:
        path.unlink()
    report = run(filled)
    assert report.salvaged == COUNT // DAYS
    assert (len(report.gone), report.needs_a_person, report.rebuilt) == (1, True, 0)
    assert rows(filled) == before
    assert [path.endswith(report.gone[0]) for path in faults(filled.archive, DAYS)] == [True]

    remove(filled, names.STATES, names.LEDGER)
    for path in event_places(filled, 1)[1:]:
        path.unlink()
    assert run(filled).rebuilt == COUNT // DAYS
    assert [facts(row) for row in rows(filled)] == [facts(row) for row in before]
    assert len(run(filled).gone) == 2


def test_a_loss_that_was_accepted_is_no_fault_any_more(filled: Heap) -> None:
    """The lines of the files that are gone move beside the manifest, word for word, and verify is content."""
    path = event_places(filled)[-1]
    relative = path.relative_to(filled.archive.storage.local_path() or "").as_posix()
    lines = {line for data in manifests(filled).values() for line in data.decode().splitlines() if relative in line}
    path.unlink()
    run(filled)
    assert relative in faults(filled.archive, DAYS)
    report = run(filled, accept_loss=True)
    assert (report.gone, report.losses_accepted, report.needs_a_person) == ([relative], True, False)
    assert faults(filled.archive, DAYS) == {}
    kept = filled.archive.storage.read(f"manifests/provider=feather/date={FIRST}/lost-events-sha256.txt").decode()
    assert set(kept.splitlines()) == lines
    assert run(filled).gone == []


def test_recordings_that_only_the_executions_know_are_asked_for_again(filled: Heap) -> None:
    """The events of recordings that were waiting are lost: no schedule reads an old day again, so the lake tells the ledger."""
    write_executions(filled, ["call-000000", "waiting-1", "waiting-2"])
    remove(filled, names.TAIL, *DERIVED)
    report = run(filled)
    assert (report.rebuilt, report.discovered) == (COUNT, 2)
    waiting = filled.ledger.read_open(PROVIDER)
    assert {key.execution_id: event.life.state for key, event in waiting.items()} == {
        "waiting-1": State.PENDING,
        "waiting-2": State.PENDING,
    }
    assert all(event.life.next_attempt_at is not None for event in waiting.values())


@pytest.mark.parametrize("place", [Failpoint.REBUILT_EVENTS, Failpoint.REBUILT_STATE, Failpoint.REBUILT_MANIFEST])
def test_killed_at_any_step_it_ends_the_same(filled: Heap, place: Failpoint) -> None:
    """A rebuild that was killed is run again, and every recording has one event."""
    before = rows(filled)
    remove(filled, names.TAIL, *DERIVED)

    def kill(point: Failpoint) -> None:
        if point is place:
            raise Killed

    with hooked(kill), pytest.raises(Killed):
        run(filled)
    run(filled)
    assert [facts(row) for row in rows(filled)] == [facts(row) for row in before]
    assert filled.ledger.events_table(PROVIDER).num_rows == COUNT
    assert [verdict.fault for day in days_of(DAYS) for verdict in verify_day(filled.ledger, PROVIDER, day) if verdict.fault] == []


def test_a_sidecar_in_the_wrong_place_is_not_believed(filled: Heap) -> None:
    """A sidecar that was copied into another execution's folder is named, and makes nothing archived."""
    known = archived(filled.archive, DAYS)
    one, other = (place_of(filled.archive, known[name]).with_suffix(".json") for name in ("call-000001", "call-000004"))
    shutil.copyfile(one, other)
    remove(filled, names.TAIL, *DERIVED)
    report = run(filled)
    assert [words for _, words in report.faults] == ["this sidecar speaks of another recording"]
    assert "call-000004" not in archived(filled.archive, DAYS)
    assert {event.outcome for event in archived(filled.archive, DAYS).values()} == {Outcome.REBUILT}
