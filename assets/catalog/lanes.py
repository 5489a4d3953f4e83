"""What a catalog shows of one provider: which files of the lake are current, all of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from assets.executions import lake
from assets.recordings import names
from assets.recordings.ledger import Ledger, places
from assets.recordings.ledger.snapshot import Partition, Snapshot
from resources.errors import NotStoredError, StorageError
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Lane:
    """What a catalog shows of one provider: a snapshot of its ledger, and the current files of its executions."""

    spec: ProviderSpec
    snapshot: Snapshot
    partitions: Mapping[date, Partition]
    executions: Mapping[date, tuple[str, ...]]

    @property
    def states(self) -> list[str]:
        """The paths of the compacted states of one day each."""
        return [part.state for _, part in sorted(self.partitions.items()) if not places.is_month(part.state)]

    @property
    def months(self) -> list[str]:
        """The paths of the compacted states of several days of a month each."""
        return sorted({part.state for part in self.partitions.values() if places.is_month(part.state)})

    @property
    def histories(self) -> list[str]:
        """The paths of the compacted events."""
        return [part.history for _, part in sorted(self.partitions.items()) if part.history is not None]

    @property
    def packed(self) -> set[str]:
        """The event files whose rows are in compacted events, and that may still lie in the tail's folder."""
        return set(self.snapshot.folded) - {path for part in self.partitions.values() for path in part.folded}


def lane_of(ledger: Ledger, spec: ProviderSpec) -> Lane:
    """Return what there is to show of a provider. Compacted states that somebody has deleted are made again first.

    Raises:
        StorageError: the lake cannot be read, or compacted events are gone.
    """
    executions = _executions(ledger.storage, spec)
    for _ in range(_TRIES):
        snapshot = ledger.snapshot(spec.name) or Snapshot()
        try:
            partitions = ledger.partitions_of(snapshot)
        except NotStoredError:
            ledger.mend(spec.name)
            continue
        lane = Lane(spec, snapshot, partitions, executions)
        if _is_whole(ledger.storage, lane):
            return lane
        ledger.mend(spec.name)
    msg = f"the compacted state of {spec.name} in {ledger.storage.url} is deleted as fast as it is made: run again"
    raise StorageError(msg)


def _is_whole(storage: ArchiveStorage, lane: Lane) -> bool:
    """Whether every file that is made from the events is there; one listing, whatever the views name."""
    provider = lane.spec.name
    trees = (f"{names.STATES}/provider={provider}", places.ledger_folder(provider))
    there = {info.path for tree in trees for info in storage.list(tree)}
    events = {info.path for info in storage.list(f"{names.EVENTS}/provider={provider}")}
    gone = sorted(set(lane.histories) - events)
    if gone:
        msg = f"{gone[0]} in {storage.url} is gone, with the history of its day: see `recording-archive verify`, and restore it"
        raise StorageError(msg)
    return there.issuperset([*lane.states, *lane.months, *lane.snapshot.own_files])


def _executions(storage: ArchiveStorage, spec: ProviderSpec) -> Mapping[date, tuple[str, ...]]:
    """Return the current file of each day. Where two runs wrote at one instant there are two: they are made one."""
    files = lake.partition_files(storage, spec.name)
    doubled = [day for day, paths in files.items() if len(paths) > 1]
    for day in doubled:
        with lake.updating(storage, spec, day) as update:
            update.publish(update.tables())
    return lake.partition_files(storage, spec.name) if doubled else files
