"""What a provider is: a static description (:class:`ProviderSpec`) and a live client (:class:`Provider`).

The description says how the provider's executions look and what its answers mean, without any key, so that assets, schedules,
pools and views are made from it. The client asks the API. Adding a provider is one module that makes both, and one line in
:mod:`resources.providers.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from resources.errors import RecordingError, Subject
from resources.model import ExecutionRecord, Leg, Link, Window
from resources.settings import Settings


@dataclass(frozen=True, slots=True)
class Field:
    """One top-level field of a provider's execution object, and the typed column that keeps it.

    Attributes:
        name: the key in the provider's JSON.
        column: the column's name in the lake and in the provider's view.
        type: the Arrow type; nested structs and lists are allowed. Timestamps are ``timestamp('us', 'UTC')``.
        doc: what it means and its unit; becomes the column's comment.
        json: True keeps the value as JSON text (``type`` is then ``pa.string()``), for fields without a fixed shape.
    """

    name: str
    column: str
    type: pa.DataType
    doc: str
    json: bool = False


class Bound(StrEnum):
    """What a provider's number says about the playing time of a recording."""

    EQUAL = "equal"
    """It is the recording's length: a call is recorded from its beginning to its end."""
    AT_MOST = "at most"
    """The recording lies within it, and may be shorter: a browser is not recorded for all of its run."""


@dataclass(frozen=True, slots=True)
class ExpectedLength:
    """How long a leg's recording should play, by the provider's account.

    Attributes:
        field: the key in the provider's JSON that holds the seconds; one of the spec's fields, and a number.
        bound: what the number says.
    """

    field: str
    bound: Bound


@dataclass(frozen=True, slots=True)
class Answer:
    """What one HTTP status of an endpoint means.

    Attributes:
        error: the error that it is raised as, or None where the status is the good answer.
        meaning: one sentence for the reader of the table.
    """

    error: type[RecordingError] | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the input that could not be used, and that did not stop the rest."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Page:
    """A bounded batch of executions, inside the window that was asked for, and what was wrong with others.

    Attributes:
        records: the executions.
        problems: what was wrong with others.
        done: a span of creation times of which, as far as one can tell, the walk has yielded everything by now, this page
            included; None where that is not known before the walk's end.
    """

    records: tuple[ExecutionRecord, ...]
    problems: tuple[Problem, ...] = ()
    done: Window | None = None


class Provider(Protocol):
    """A live client of one provider's API. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """The provider's name, as in :class:`ProviderSpec`."""
        ...

    @property
    def base_url(self) -> str:
        """The normalised base URL, without secrets; kept with each event as the place that gave the answer."""
        ...

    def find(self, window: Window) -> Iterator[Page]:
        """Yield the executions created in ``window``, each id at most once, a page at a time.

        Raises:
            BlockedError, TransientError, UnexpectedAnswerError: the walk cannot go on; what was yielded stays good.
            InventoryError: no inventory can be read at all.
        """
        ...

    def get(self, execution_id: str) -> ExecutionRecord:
        """Return one execution as the provider knows it now.

        Raises:
            AbsentError: the provider does not know the id.
            BlockedError, TransientError, UnexpectedAnswerError: as above.
        """
        ...

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Ask for a fresh presigned URL of one recording: exactly one question, never answered from a cache.

        Raises:
            NotReadyError, AbsentError, PurgedError, BlockedError, RateLimitedError, TransientError,
            UnexpectedAnswerError: see the provider's ``link_answers``.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class TurnKeeper(Protocol):
    """The turns of one provider that all runs share."""

    def take(self, subject: Subject) -> None:
        """Return when the caller may ask once, now; raises RateLimitedError where that would take too long."""
        ...

    def release(self) -> None:
        """Give back what was not used."""
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of the world that a client touches besides the network; injected, so that tests own them.

    Attributes:
        now: UTC.
        monotonic: seconds for durations.
        sleep: takes seconds.
        turns: from a provider's name, its rates (requests, seconds) and the longest wait for a turn (seconds) to what its runs
            share; None where each process counts for itself.
    """

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    turns: Callable[[str, Sequence[tuple[int, float]], float], TurnKeeper] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ProviderSpec:
    """The static description of a provider.

    Attributes:
        name: lower case; the partition key ``provider=``, the asset prefix and the pool.
        title: for people.
        view: the name of its own table in the catalog, for instance ``feather_calls``.
        key_setting: the environment variable without which the provider is off.
        fields: the top-level fields of its execution object.
        canonical_sql: a SELECT over a relation ``parsed`` (one column per ``Field.column``, plus ``_raw``) that gives the
            common columns, in this order: execution_id, created_at, started_at, ended_at, status, terminal, purged_at, legs,
            agent_id, agent_name, workflow_id, workflow_version_id, workflow_name, duration_seconds. The time zone is UTC.
        tombstone_field: the JSON key whose presence says that the provider emptied the row, or None.
        meaning_changes: JSON key that marks a newer generation of the schema, to the keys that mean something else in it: a
            re-read of the older generation must not bring those back.
        link_answers: what each status of the recording endpoint means; a test walks through it.
        read_answers: the same for the list and get endpoints.
        build: makes the live client, or returns None when the provider has no key. Raises SettingsError.
        expected_lengths: for each leg of whose playing time the provider says something, where it says so. A leg that is not
            here is never compared.
    """

    name: str
    title: str
    view: str
    key_setting: str
    fields: tuple[Field, ...]
    canonical_sql: str
    tombstone_field: str | None
    link_answers: Mapping[int, Answer]
    read_answers: Mapping[int, Answer]
    build: Callable[[Settings, Runtime], Provider | None]
    meaning_changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    expected_lengths: Mapping[Leg, ExpectedLength] = field(default_factory=dict[Leg, ExpectedLength])
