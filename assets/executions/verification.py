"""Reading the lake's executions back: is each current file still one that can be read?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date

from assets.executions import lake
from resources.errors import NotStoredError, StorageError
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage


def unreadable(storage: ArchiveStorage, spec: ProviderSpec, days: Collection[date] | None = None) -> Iterator[tuple[str, str]]:
    """Yield path and words of the days whose current files cannot be read to their end, a row group in memory at a time.

    Args:
        storage: the archive root.
        spec: the provider.
        days: which; all that there are by default.

    Raises:
        StorageError: the root cannot be listed.
    """
    for day, paths in sorted(lake.partition_files(storage, spec.name).items()):
        if days is not None and day not in days:
            continue
        try:
            with lake.updating(storage, spec, day) as read:
                for _ in read.tables():
                    pass
        except NotStoredError:  # others write it again and again: the one that is current by now is theirs
            continue
        except StorageError as error:
            yield next((path for path in paths if path in str(error)), paths[-1]), str(error)
