"""Compaction of the executions lake: one sorted file a day by the present spec, and no replaced file for ever.

Safe beside writers, readers and another compaction, and wherever it is killed: a day is written again as any read would write it,
and a replaced file goes only when none comes back for want of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from assets.executions import lake
from assets.executions.decode import Decoder
from assets.executions.files import PartitionFile, current, files_below, provider_folder
from assets.executions.schema import fingerprint
from resources.failpoints import Failpoint, reached
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did to the files of one provider.

    Attributes:
        days: which were written again.
        rows: in them.
        files_before, files_after: how many there were, and are now.
        bytes_before, bytes_after: their sizes together.
        removed: replaced files that are gone.
    """

    days: tuple[date, ...]
    rows: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    removed: int


def compact(storage: ArchiveStorage, spec: ProviderSpec, *, grace: timedelta, keep: Collection[str] = ()) -> CompactionReport:
    """Write again the days that have more than one current file, or one of an older spec; remove what was replaced long ago.

    Args:
        storage: the archive root.
        spec: the provider.
        grace: how long a replaced file stays, for those who still read it. Counted by the storage's clock, from when it was
            replaced to the provider's newest file: no other clock has a say.
        keep: paths that stay all the same, since a published catalog names them.

    Raises:
        StorageError: the root failed, or a file is damaged. What is done is done; the next compaction does the rest.
    """
    days = files_below(storage, provider_folder(spec.name))
    listed = [file for files in days.values() for file in files]
    newest = max((file.modified for file in listed), default=None)
    written: list[date] = []
    rows = created = removed = 0
    with Decoder(spec) as decoder:
        for day, files in sorted(days.items()):
            if not _is_settled(spec, current(files)):
                with lake.updating(storage, spec, day, decoder=decoder) as update:
                    if update.news:
                        created += update.publish(update.tables())
                        rows += update.rows
                        written.append(day)
                        reached(Failpoint.EXECUTIONS_WRITTEN)
    gone = [file for files in days.values() for file in _expired(files, newest - grace, keep)] if newest is not None else []
    for file in gone:
        storage.delete(file.path)
        removed += file.size
    size = sum(file.size for file in listed)
    files_after = len(listed) + len(written) - len(gone)
    return CompactionReport(tuple(written), rows, len(listed), files_after, size, size + created - removed, len(gone))


def _is_settled(spec: ProviderSpec, files: Sequence[PartitionFile]) -> bool:
    """Tell whether a day is one file of this spec by its name; a name that does not say it leaves that to a look inside."""
    return len(files) == 1 and files[0].spec == fingerprint(spec)


def _expired(files: Iterable[PartitionFile], before: datetime, keep: Collection[str]) -> list[PartitionFile]:
    """Return the files of a day that were replaced before that moment and may go, in the order in which they may.

    A file that others need not to come back stays: one that replaced a file which is still there.
    """
    files = sorted(files)
    replaced_at: dict[str, datetime] = {}
    for file in files:
        for name in file.replaces:
            replaced_at[name] = min(file.modified, replaced_at.get(name, file.modified))
    there = {file.id for file in files}
    gone: list[PartitionFile] = []
    for file in files:
        moment = replaced_at.get(file.id)
        if moment is not None and moment < before and file.path not in keep and there.isdisjoint(file.replaces):
            gone.append(file)
            there.discard(file.id)
    return gone
