"""The audit and the rebuild on S3: the same promises as on local disk."""

from __future__ import annotations

import uuid

import pytest

from assets.recordings import names
from assets.recordings.audit.fixity import audit
from assets.recordings.audit.rebuilding import rebuild
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Outcome
from resources.providers.registry import PROVIDERS
from tests.fixity.heap import PROVIDER, StubProvider, archived, faults, fill, heap, names_of, notes
from tests.fixity.test_rebuild import facts
from tests.storage.seaweed import Seaweed, seaweed

__all__ = ["seaweed"]

pytestmark = [pytest.mark.s3, pytest.mark.slow]

COUNT, DAYS = 8, 2


def test_damage_is_mended_and_lost_events_come_back(seaweed: Seaweed, origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed and a deleted object are fetched again beside what is left; with all events lost the state is the same."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    root = f"s3://{seaweed.bucket}/{uuid.uuid4().hex}"
    with heap(root, StubProvider(origin), fixity_cycle_days=1) as archive:
        storage = archive.storage
        fill(archive, names_of(COUNT), DAYS)
        changed, deleted = (archived(archive, DAYS)[name].copy for name in ("call-000002", "call-000005"))
        assert changed is not None
        assert deleted is not None
        harmed = storage.read(changed.path)[:-1] + b"?"
        storage.write(changed.path, harmed)
        storage.delete(deleted.path)
        assert faults(archive, DAYS).keys() == {changed.path, deleted.path}
        assert len(audit(archive, PROVIDER, "audit").mended) == 2
        assert storage.read(changed.path) == harmed
        assert not storage.exists(deleted.path)
        assert faults(archive, DAYS) == {}
        assert len(notes(archive, DAYS)) == 3

        before = Ledger(storage).state_table(PROVIDER).to_pylist()
        for tree in (names.TAIL, names.EVENTS, names.STATES, names.LEDGER, names.MANIFESTS):
            for info in list(storage.list(tree)):
                storage.delete(info.path)
        report = rebuild(archive, PROVIDERS[PROVIDER])
        assert (report.rebuilt, report.needs_a_person) == (COUNT, False)
        after = Ledger(storage).state_table(PROVIDER).to_pylist()
        assert [facts(row) for row in after] == [facts(row) for row in before]
        assert {event.outcome for event in archived(archive, DAYS).values()} == {Outcome.REBUILT}
        assert faults(archive, DAYS) == {}
