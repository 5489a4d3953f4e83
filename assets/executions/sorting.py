"""A day's rows, merged with what was known of them and sorted by creation, however many they are.

Few rows are merged in memory, many in slices: an execution belongs to the slice that its id says, so that whatever is known of it
meets there. The slices, sorted, wait on local disk until they are read together.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from assets.executions.former import Former
from assets.executions.intake import Entry, Row
from assets.executions.merge import Merged, merge
from assets.executions.spool import Spool
from resources.providers.protocol import ProviderSpec

SLICE_BYTES = 64 * 1024 * 1024
"""How much of a day, known and read, is merged in memory at a time."""
_SPOOL_BYTES = 16 * 1024 * 1024


class SortedDay:
    """The rows of a day after a read, in the order of their partition. A context: what lies on disk goes at its end.

    Attributes:
        rows, new, changed, kept: how many there are, and what the read did; see :class:`~assets.executions.merge.Merged`.
    """

    def __init__(self, spec: ProviderSpec, former: Former, read: Iterable[Row], read_bytes: int) -> None:
        """Merge and sort.

        Args:
            spec: the provider.
            former: what was known.
            read: the rows of the read, in the order in which they came.
            read_bytes: what these take in memory, about.

        Raises:
            StorageError: a former file is damaged, or the root failed.
        """
        self.rows = self.new = self.changed = self.kept = 0
        self._spec = spec
        self._former = former
        self._stack = ExitStack()
        try:
            slices = 1 + (former.raw_bytes + read_bytes) // SLICE_BYTES
            self._runs = [self._merged(former.identities(), read)] if slices == 1 else self._sliced(read, slices)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the rows, by time of creation and id; once only."""
        return heapq.merge(*self._runs) if len(self._runs) > 1 else iter(self._runs[0])

    def _merged(self, known_files: Sequence[Iterator[Row]], read: Iterable[Row]) -> list[Entry]:
        """Merge the known rows of each file with those of the read, and sort them."""
        known: dict[str, Row] = {}
        for rows in known_files:
            known = merge(self._spec, known, rows).rows if known else {row.execution_id: row for row in rows}
        whole = self._former.settled and len(known) == self._former.rows
        places = {name: number for number, name in enumerate(known)} if whole else {}
        return self._entries(merge(self._spec, known, read), known, places)

    def _entries(self, merged: Merged, known: dict[str, Row], places: dict[str, int]) -> list[Entry]:
        self.rows += len(merged.rows)
        self.new += merged.new
        self.changed += merged.changed
        self.kept += merged.kept
        entries: list[Entry] = []
        for name, row in merged.rows.items():
            if name in places and (before := known[name]).raw == row.raw and before.created_at == row.created_at:
                entries.append(Entry.of(row, places[name], held=True))
            else:
                entries.append(Entry.of(row))
        entries.sort()
        return entries

    def _sliced(self, read: Iterable[Row], slices: int) -> list[Iterator[Entry]]:
        files = self._former.identities()
        with ExitStack() as parts:
            spools = [parts.enter_context(Spool(Entry, _SPOOL_BYTES)) for _ in files]
            for spool, rows in zip(spools, files, strict=True):
                for place, row in enumerate(rows):
                    spool.add(hash(row.execution_id) % slices, Entry.of(row, place))
            listed = parts.enter_context(Spool(Entry, _SPOOL_BYTES))
            for row in read:
                listed.add(hash(row.execution_id) % slices, Entry.of(row))
            runs = self._stack.enter_context(Spool(Entry, _SPOOL_BYTES))
            for number in range(slices):
                for entry in self._merged_slice([spool.rows(number) for spool in spools], listed.rows(number)):
                    runs.add(number, entry)
                for spool in (*spools, listed):
                    spool.discard(number)
        return [runs.rows(number) for number in range(slices)]

    def _merged_slice(self, known_files: Sequence[Iterator[Entry]], read: Iterator[Entry]) -> list[Entry]:
        known: dict[str, Row] = {}
        places: dict[str, int] = {}
        for entries in known_files:
            rows: dict[str, Row] = {}
            for entry in entries:
                rows[entry.execution_id] = entry.row
                places[entry.execution_id] = entry.place
            known = merge(self._spec, known, rows.values()).rows if known else rows
        merged = merge(self._spec, known, (entry.row for entry in read))
        return self._entries(merged, known, places if self._former.settled else {})
