"""The tables and views of the catalog, with a comment for each column. The providers' own views add theirs."""

from __future__ import annotations

from dataclasses import dataclass

from assets.recordings.lifecycle import State


@dataclass(frozen=True, slots=True)
class Table:
    """A documented table or view of the catalog.

    Attributes:
        name: with its schema, where that is not the main one.
        comment: says the grain.
        columns: each column, in order, and its comment.
        stored: whether its rows are in the file; False for a view over files of the lake.
    """

    name: str
    comment: str
    columns: dict[str, str]
    stored: bool = False


EXECUTIONS = Table(
    "executions",
    "One row for each execution of any provider, in words that all providers share.",
    {
        "provider": "asteroid, feather or kataven",
        "date": "UTC day of created_at; the partition",
        "execution_id": "the provider's id, verbatim",
        "created_at": "when the execution was created",
        "started_at": "when it started to run, where the provider says so",
        "ended_at": "when it reached its terminal status; NULL while it runs or where the provider does not say",
        "status": "the provider's own word; new words are kept as they come",
        "terminal": "true when the execution has ended",
        "purged_at": "when the provider's retention purge emptied it; the facts read before stay in this row",
        "legs": "the recordings to expect of it: main, supervisor",
        "agent_id": "the agent that ran",
        "agent_name": "its display name",
        "workflow_id": "the workflow that was run, the same meaning for all generations of a provider's schema",
        "workflow_version_id": "its version",
        "workflow_name": "its display name",
        "duration_seconds": "how long the execution took by the provider's account, in seconds",
        "first_seen_at": "when the archive first read it",
        "last_seen_at": "when the archive last read something new of it",
    },
)

RECORDINGS = Table(
    "recordings",
    "One row for each recording (provider, execution_id, leg): where it stands now.",
    {
        "provider": "asteroid, feather or kataven",
        "execution_id": "the provider's id, verbatim",
        "leg": "main, or supervisor (Feather's warm transfer)",
        "date": "UTC day of the execution's creation; the partition",
        "state": "pending, not_ready, blocked, archived, absent, purged or failed",
        "attempts": "tries so far that said something about the recording",
        "next_attempt_at": "when it is asked for next; NULL in final states and while its execution runs",
        "archived_at": "when the copy was published",
        "path": "the copy, relative to the archive root",
        "bytes": "its length",
        "sha256": "its SHA-256, lower-case hex",
        "content_type": "detected from its bytes",
        "media_seconds": "how long the copy plays by its own account, in seconds; NULL where that cannot be told",
        "expected_seconds": "how long it should play by the provider's account, in seconds; NULL where that says nothing",
        "flaw": "what is doubtful about the copy, and a person should look at: duration, damaged, missing; NULL where nothing is",
        "last_outcome": "what the latest event said",
        "last_http_status": "the HTTP status of the latest answer, if one came",
    },
)

RECORDINGS_OF = Table(
    "recordings_of",
    "recordings of one provider and day, as recordings_of('asteroid', '2026-11-20'), without a look at any other day. A macro.",
    RECORDINGS.columns,
)

ATTEMPTS = Table(
    "recording_attempts",
    "One row for each try to archive a recording: the history behind recordings.",
    {
        "provider": "asteroid, feather or kataven",
        "execution_id": "the provider's id, verbatim",
        "leg": "main or supervisor",
        "date": "UTC day of the execution's creation; the partition",
        "seq": "position in the recording's history, as its writer counted",
        "at": "when the try ended",
        "run_id": "the Dagster run",
        "outcome": "archived, adopted, repaired, not_ready, not_configured, absent, purged, blocked, refused, rate_limited, "
        "expired, transient, storage_fault, not_media or unexpected",
        "state": "the state that followed",
        "http_status": "the HTTP status that decided, if one came",
        "detail": "a sentence for people; never holds a presigned URL",
        "seconds": "how long link and transfer took",
        "bytes": "what was stored",
        "next_attempt_at": "when the next try was due after it",
    },
)

COVERAGE = Table(
    "coverage",
    "One row for each provider and UTC day: how much of it is archived.",
    {
        "provider": "asteroid, feather or kataven",
        "date": "the partition",
        "executions": "executions that the archive has read",
        "recordings": "recordings that they should have",
        **{state.value: f"recordings in the state {state.value}" for state in State},
        "bytes": "bytes archived",
    },
)

DUE = Table(
    "due",
    "One row for each recording that is to be asked for now: its time has come, and it is not in a final state.",
    {
        "provider": "asteroid, feather or kataven",
        "execution_id": "the provider's id, verbatim",
        "leg": "main, or supervisor (Feather's warm transfer)",
        "date": "UTC day of the execution's creation; the partition",
        "state": "pending, not_ready or blocked",
        "attempts": "tries so far that said something about the recording",
        "next_attempt_at": "since when it is due; blocked ones of a provider wait together, for the latest time of them",
        "last_outcome": "what the latest event said",
        "last_http_status": "the HTTP status of the latest answer, if one came",
    },
)

EXECUTION_DAYS = Table(
    "execution_days",
    "One row for each execution with a recording to be archived: on which day to look for it. The index for look-ups by id.",
    {
        "execution_id": "the provider's id, verbatim",
        "provider": "asteroid, feather or kataven",
        "date": "UTC day of the execution's creation; the partition",
    },
)

CATALOG_INFO = Table(
    "catalog_info",
    "One row: when this file was made, and of what.",
    {
        "published_at": "UTC moment at which the file was built",
        "archive_root": "where the lake was then; SET VARIABLE archive_root tells the views where it is for you",
        "generations": "the snapshot of each provider's ledger that the views stand on",
    },
    stored=True,
)

SHARED_TABLES = (EXECUTIONS, RECORDINGS, ATTEMPTS, COVERAGE, DUE, EXECUTION_DAYS)
"""What is for analysts, beside the providers' own views."""

_EVENT = {
    "provider": "asteroid, feather or kataven",
    "date": "UTC day of the execution's creation; the partition",
    "execution_id": "the provider's id, verbatim",
    "leg": "main or supervisor",
    "event_id": "unique; breaks ties",
    "seq": "position in the recording's history, as its writer counted",
    "at": "when it was written, by the writer's clock",
    "run_id": "the Dagster run",
    "outcome": "what was learnt",
    "state": "the state that followed",
    "attempts": "tries so far that said something about the recording",
    "attempts_before": "those before it was asked for again by hand",
    "suspects": "bodies in a row that were no media",
    "epoch": "how often it was asked for again by hand",
    "next_attempt_at": "when it is asked for next",
    "eligible_since": "since when it could be asked for",
    "trying_since": "since when tries say something about it",
    "ended_at": "when its execution ended",
    "http_status": "the HTTP status that decided, if one came",
    "detail": "a sentence for people",
    "api_base": "the base URL that answered",
    "proved_base": "the last base URL that led to the recording or to its not ready",
    "seconds": "how long link and transfer took",
    "path": "the copy, relative to the archive root",
    "bytes": "its length",
    "sha256": "its SHA-256, lower-case hex",
    "content_type": "detected from its bytes",
    "sidecar_sha256": "the SHA-256 of its sidecar",
    "number": "1 for the first copy; one that replaces a damaged copy has the next number",
    "media_seconds": "how long the copy plays by its own account, in seconds",
    "flaw": "what is doubtful about the copy",
    "expected_seconds": "how long it should play by the provider's account, in seconds",
    "absences": "times in a row that the provider said there is none",
    "archived_at": "when the copy was published",
}


def published_tables() -> tuple[Table, ...]:
    """Return what the views for analysts are made of; in a schema of its own."""

    def events(name: str, comment: str, *, stored: bool = False) -> Table:
        return Table(f"published.{name}", comment, _EVENT, stored)

    covered = {**COVERAGE.columns, "executions": "executions that the archive had read at the publication"}
    days = {name: EXECUTION_DAYS.columns[name] for name in ("provider", "execution_id", "date")}
    return (
        Table(
            "published.states",
            "The winning event of each recording at the publication: the compacted state.",
            {**_EVENT, "month": "of the file, as feather-2026-11; empty where the day has a file of its own"},
        ),
        events("day_states", "Those of the days that have a file of their own."),
        Table(
            "published.month_states",
            "The files that days of one month share. What has a file of its own by now is in them as it was: join days.",
            {"month": "of the file, as feather-2026-11", **_EVENT},
        ),
        Table(
            "published.days",
            "In which file the state of each day is.",
            {
                "provider": _EVENT["provider"],
                "month": "that of the month's file, as feather-2026-11; the day itself where it has a file of its own",
                "date": "UTC day; the partition",
            },
            stored=True,
        ),
        events("histories", "The events that were compacted by the time of the publication."),
        events("tail", "The events of files that the compacted state does not know, as they lie there when you ask."),
        events("appended", "The events of files that are in no compacted history, as they lie there when you ask."),
        events("news", "One row for each recording that the tail has news of: the winning event of the tail."),
        events("open_recordings", "The recordings that were in no final state at the publication.", stored=True),
        Table("published.coverage", "coverage as it was at the publication.", covered, stored=True),
        Table("published.ids", "execution_days as it was at the publication; a pair may be there twice.", days),
    )
