"""The tables of the catalog that analysts see, with a comment for each column. The providers' own tables add theirs."""

from __future__ import annotations

from dataclasses import dataclass

from assets.recordings.lifecycle import State


@dataclass(frozen=True, slots=True)
class Table:
    """A documented table of the catalog: its comment says the grain; ``columns`` maps each column to its comment."""

    name: str
    comment: str
    columns: dict[str, str]


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

SHARED_TABLES = (EXECUTIONS, RECORDINGS, ATTEMPTS, COVERAGE)
