"""How the files of the ledger are called, and which day a name is about.

Only names of these shapes are the ledger's: what a file manager, a console or another tool leaves beside them is left alone.
"""

from __future__ import annotations

import functools
import re
from datetime import date, datetime
from uuid import uuid4

from assets.recordings import names

_KNOWN = 16_384
"""Paths that are not looked at again: each reading of a snapshot brings those of all days."""
_DAY = r"\d{4}-\d\d-\d\d"
_MONTH = r"[^/]+-\d{4}-\d\d"
_APPENDED = re.compile(rf"{names.TAIL}/(?P<partition>provider=[^/]+)/(?P<day>{_DAY})_[^/]+\.parquet")
_FILED = re.compile(rf"{names.EVENTS}/(?P<partition>provider=[^/]+)/date=(?P<day>{_DAY})/(?P<name>[^/]+)\.parquet")
_HISTORY = re.compile(r"history-(?P<generation>\d{10,})-[0-9a-f]{32}")
_STATE = re.compile(rf"{names.STATES}/provider=[^/]+/(?:date={_DAY}|month={_MONTH})/\d{{10,}}-[0-9a-f]{{32}}\.parquet")
_LEDGER = re.compile(rf"{names.LEDGER}/provider=[^/]+/\d{{10,}}-[0-9a-f]{{32}}\.(?:days\.json|open\.parquet)")
_IDS = re.compile(rf"{names.LEDGER}/provider=[^/]+/ids/[^/]+\.parquet")
_SNAPSHOT = re.compile(rf"{names.LEDGER}/provider=[^/]+/snapshots/(?P<generation>\d{{10,}})\.json")
_RUN_CHARACTERS = 8
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9-]")


def new_event_path(provider: str, day: date, moment: datetime, run_id: str) -> str:
    """Return the path of a new event file of a partition; ``moment`` (UTC) and ``run_id`` are for people."""
    stamp = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond:06d}Z"
    run = _NOT_PLAIN.sub("_", run_id[:_RUN_CHARACTERS])
    return f"{names.tail_folder(provider)}/{day.isoformat()}_{stamp}-{run}-{uuid4().hex}.parquet"


def new_history_path(provider: str, day: date, generation: int) -> str:
    """Return the path of a new file of compacted events."""
    return f"{names.events_folder(provider, day)}/history-{generation:010d}-{uuid4().hex}.parquet"


def new_state_path(provider: str, day: date, generation: int) -> str:
    """Return the path of a new state file of a partition."""
    return f"{names.STATES}/{names.partition(provider, day)}/{generation:010d}-{uuid4().hex}.parquet"


def new_month_path(provider: str, month: date, generation: int) -> str:
    """Return the path of a new file with the states of the days of a month; ``month`` is any of its days."""
    return f"{names.STATES}/provider={provider}/month={month_key(provider, month)}/{generation:010d}-{uuid4().hex}.parquet"


def month_key(provider: str, month: date) -> str:
    """Return how a month is called in paths. One word says whose it is too: the catalog's reader goes by one alone."""
    return f"{provider}-{month:%Y-%m}"


def is_month(path: str) -> bool:
    """Return whether the path of a state file is that of a month's."""
    return "/month=" in path


def new_stem(provider: str, generation: int) -> str:
    """Return the beginning of the names that the parts of a new snapshot share."""
    return f"{ledger_folder(provider)}/{generation:010d}-{uuid4().hex}"


def ledger_folder(provider: str) -> str:
    """Return the folder of what the folds of a provider publish."""
    return f"{names.LEDGER}/provider={provider}"


def snapshots_folder(provider: str) -> str:
    """Return the folder of a provider's snapshots, and of nothing else."""
    return f"{ledger_folder(provider)}/snapshots"


def snapshot_path(provider: str, generation: int) -> str:
    """Return the path of one snapshot."""
    return f"{snapshots_folder(provider)}/{generation:010d}.json"


def generation_of_snapshot(path: str) -> int | None:
    """Return the number of a snapshot; None for another file."""
    found = _SNAPSHOT.fullmatch(path)
    return int(found["generation"]) if found is not None else None


def is_events(path: str) -> bool:
    """Return whether a path is that of a file of events, as a run appended it or compacted."""
    return _matched(path) is not None


def is_appended(path: str) -> bool:
    """Return whether a path is that of an event file as a run appended it."""
    return _APPENDED.fullmatch(path) is not None


@functools.lru_cache(maxsize=_KNOWN)
def is_history(path: str) -> bool:
    """Return whether a path is that of a file of compacted events."""
    found = _FILED.fullmatch(path)
    return found is not None and _HISTORY.fullmatch(found["name"]) is not None


def generation_of_history(path: str) -> int:
    """Return the number of the snapshot for which a file of compacted events was made; 0 for another file."""
    found = _FILED.fullmatch(path)
    of_name = _HISTORY.fullmatch(found["name"]) if found is not None else None
    return int(of_name["generation"]) if of_name is not None else 0


def day_of(path: str) -> date:
    """Return the partition of a file of events."""
    found = _matched(path)
    assert found is not None, path  # noqa: S101 -- it was listed by its shape
    return date.fromisoformat(found["day"])


def partition_of(path: str) -> str:
    """Return the hive-style path of the partition that a file of events belongs to."""
    found = _matched(path)
    assert found is not None, path  # noqa: S101 -- it was listed by its shape
    return f"{found['partition']}/date={found['day']}"


@functools.lru_cache(maxsize=_KNOWN)
def is_derived(path: str) -> bool:
    """Return whether a path is that of a file which a fold makes, and can make again: a state, a list of days, an index."""
    return any(shape.fullmatch(path) for shape in (_STATE, _LEDGER, _IDS))


def _matched(path: str) -> re.Match[str] | None:
    found = _APPENDED.fullmatch(path) or _FILED.fullmatch(path)
    try:
        return found if found is not None and date.fromisoformat(found["day"]) else None
    except ValueError:  # a folder of somebody's that looks like a day
        return None
