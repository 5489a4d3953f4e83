"""Packing the states of a past month into one file: a file for each day would make two thousand in two years.

The file is sorted as the days' own ones are, with row groups of one day each, so that a day is read without the others. A fold
knows nothing of months: a day that changes gets a file of its own again, which the snapshot names instead, and the rest of the
month's file stays current. The next compaction makes them one. So a late event costs its day at the fold, and its month once.
"""

from __future__ import annotations

import calendar
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from assets.recordings.events import SCHEMA
from assets.recordings.ledger import places
from assets.recordings.ledger.files import ROW_GROUP_ROWS
from assets.recordings.ledger.reading import Reader
from assets.recordings.ledger.snapshot import Partition
from assets.recordings.ledger.upcoming import TRIES, Next, Opened
from resources.failpoints import Failpoint, reached

_UNIQUE = frozenset({"execution_id", "event_id", "at", "path", "bytes", "sha256", "sidecar_sha256"})
SETTLED = timedelta(days=31)
"""How long before the newest day a month has to have ended: what changes every hour is not written anew as a whole."""
_WRITING: dict[str, Any] = {
    "compression": "zstd",
    # Hardly a value twice in the others: a dictionary of them would be built, and then thrown away.
    "use_dictionary": [name for name in SCHEMA.names if name not in _UNIQUE],
    # What is sought by: with statistics of everything the footer would be twice as long.
    "write_statistics": ["provider", "date", "execution_id", "state"],
}


def pack_months(reader: Reader, provider: str, settled: timedelta = SETTLED) -> list[date]:
    """Put the states of each past month that lie in several files into one. Safe beside writers, readers, folds and compactions.

    Which months are past is told by the days that there are, and by no clock.

    Args:
        reader: of the archive.
        provider: whose.
        settled: how long before the newest day a month has to have ended.

    Returns:
        The first days of the months that were packed.

    Raises:
        StorageError: a state is damaged, or the root failed; months that were packed before stay so.
    """
    done, tries = list[date](), 0
    while tries < TRIES:
        taken = reader.latest(provider)
        waiting = _waiting(reader.partitions(taken), settled)
        month = next((month for month in waiting if month not in done), None)
        if taken is None or month is None:
            break
        upcoming = Next.after(reader, provider, taken)
        _pack(upcoming, month, waiting[month])
        if upcoming.publish(Opened(taken.open, taken.waiting), taken.ids, taken.bases):
            done.append(month)
            tries = 0
        else:
            tries += 1  # a fold was faster
    return done


def _waiting(parts: Mapping[date, Partition], settled: timedelta) -> dict[date, list[Partition]]:
    """Return the days of each past month, by its first day, where they lie in more than one file."""
    newest, found = max(parts, default=date.min), dict[date, list[Partition]]()
    for month, days in groupby((part for _, part in sorted(parts.items())), lambda part: part.day.replace(day=1)):
        of_month = list(days)
        last = month.replace(day=calendar.monthrange(month.year, month.month)[1])
        if newest - last > settled and len({part.state for part in of_month}) > 1:
            found[month] = of_month
    return found


def _pack(upcoming: Next, month: date, days: Sequence[Partition]) -> None:
    reader, provider = upcoming.reader, upcoming.provider
    path = places.new_month_path(provider, month, upcoming.generation)
    reader.storage.create_from(path, _encoded(reader.state(provider, part) for part in days))
    for part in days:
        upcoming.parts[part.day] = msgspec.structs.replace(part, state=path)
    upcoming.leaving |= {part.state for part in days}
    reached(Failpoint.MONTH_WRITTEN)


def _encoded(states: Iterable[pa.Table]) -> Iterator[bytes]:
    """Yield the bytes of a file of several days' states; one day is in memory at a time."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, **_WRITING) as writer:
        for state in states:
            writer.write_table(state, row_group_size=ROW_GROUP_ROWS)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()
