"""The files of the executions lake: one partition is one provider's UTC day, with one current row for each execution.

A partition's files are immutable and each holds the whole partition. A file's name says which files it replaces::

    000003-9f2c41d07ab8_51c0e7aa93f1.0d5e2f66a91b8c47.parquet

is the third generation, 9f2c..., in place of 51c0..., by the version 0d5e... of the provider's spec. So one listing tells the
current files: those that no other file replaces. Usually that is one. When two runs wrote at the same time, or a slow one came
with old knowledge, there are two: the reader merges them, and the next writer replaces both, so nothing that either had read is
lost, whoever came last. A file is visible whole or not at all (:meth:`ArchiveStorage.create`), so a run that dies before that has
changed nothing. Writers remove nothing: replaced files are for those who still read them, until
:func:`assets.executions.compaction.compact` finds that they were replaced long enough ago.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import uuid4

from resources.storage import ArchiveStorage

FOLDER = "lake/executions"
_PATH = re.compile(
    rf"{FOLDER}/provider=[^/]+/date=(?P<day>\d{{4}}-\d\d-\d\d)/"
    r"(?P<generation>\d{6,})-(?P<id>[0-9a-f]{12})(?P<replaces>(?:_[0-9a-f]{12})*)(?:\.(?P<spec>[0-9a-f]{16}))?\.parquet"
)
_ID_DIGITS = 12
# Fits into a file name of 255 bytes. More current files need more writers at one instant; the next write takes the rest.
_REPLACED_MAX = 15


@dataclass(frozen=True, slots=True)
class PartitionFile:
    """One file of a partition, as its name describes it; older generations sort first.

    Attributes:
        generation: one more than that of the files that it replaces.
        id: what other names call it.
        day: the partition.
        path: relative to the root.
        replaces: the ids of the files that it contains.
        spec: the fingerprint of the spec that it was written by, or None where only the file itself says it.
        size: bytes.
        modified: UTC, by the storage's clock.
    """

    generation: int
    id: str
    day: date
    path: str
    replaces: tuple[str, ...]
    spec: str | None
    size: int
    modified: datetime

    def __lt__(self, other: PartitionFile) -> bool:
        return (self.generation, self.id) < (other.generation, other.id)


def provider_folder(provider: str) -> str:
    """Return the folder of a provider's partitions."""
    return f"{FOLDER}/provider={provider}"


def partition_folder(provider: str, day: date) -> str:
    """Return the folder of one partition."""
    return f"{provider_folder(provider)}/date={day.isoformat()}"


def files_below(storage: ArchiveStorage, folder: str) -> dict[date, list[PartitionFile]]:
    """Return the files of our own below a folder, by day; others (a desktop's ``.DS_Store``) are none of our business."""
    days: defaultdict[date, list[PartitionFile]] = defaultdict(list)
    for info in storage.list(folder):
        if (name := _PATH.fullmatch(info.path)) is not None:
            with contextlib.suppress(ValueError):  # a folder that only looks like a day
                day = date.fromisoformat(name["day"])
                replaces = tuple(name["replaces"].split("_")[1:])
                generation, spec = int(name["generation"]), name["spec"]
                days[day].append(PartitionFile(generation, name["id"], day, info.path, replaces, spec, info.size, info.modified))
    return days


def current(files: Iterable[PartitionFile]) -> list[PartitionFile]:
    """Return those of a partition's files that no other one replaces, older generations first."""
    files = list(files)
    gone = {name for file in files for name in file.replaces}
    return sorted(file for file in files if file.id not in gone)


def next_path(provider: str, day: date, replaced: Sequence[PartitionFile], spec: str) -> str:
    """Return a new path for a file that contains all rows of ``replaced``, written by the spec of that fingerprint."""
    generation = 1 + max((file.generation for file in replaced), default=0)
    named = replaced[:_REPLACED_MAX]
    name = "_".join((f"{generation:06d}-{uuid4().hex[:_ID_DIGITS]}", *(file.id for file in named)))
    return f"{partition_folder(provider, day)}/{name}.{spec}.parquet"
