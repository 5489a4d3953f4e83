"""Asteroid: browser agents, whose recordings are videos.

Sources: Asteroid documentation, "Get execution" and "Get recording redirect"; for the list, the later fields and the status
``queued``, Asteroid's own Python SDK (``asteroid-odyssey`` 1.9.167).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx
import msgspec
import pyarrow as pa

from resources.errors import (
    AbsentError,
    BlockedError,
    NotReadyError,
    PurgedError,
    RecordingError,
    Subject,
    TransientError,
    UnexpectedAnswerError,
)
from resources.model import ExecutionRecord, Leg, Link, Window
from resources.providers.api import ApiClient, Reply, Service, checked_base_url, checked_id, checked_key
from resources.providers.client import ApiProvider
from resources.providers.columns import FLAG, MOMENT, NUMBER, TEXT, WHOLE
from resources.providers.links import link_from_redirect
from resources.providers.listing import PAGE_SIZE, Listing, read_item, read_items
from resources.providers.moments import iso_text, moment_of
from resources.providers.pages import read_page
from resources.providers.protocol import Answer, Bound, ExpectedLength, Field, Page, Problem, Provider, ProviderSpec, Runtime
from resources.settings import Settings

NAME = "asteroid"
KEY_HEADER = "X-Asteroid-Agents-Api-Key"
API_PATH = "/agents/v2"

TERMINAL_STATUSES = frozenset({"completed", "cancelled", "failed"})
ACTIVE_STATUSES = frozenset({"queued", "starting", "running", "paused", "awaiting_confirmation", "paused_by_agent"})

WALKS_MAX = 3
"""How often a window is walked while the count of executions differs from ``total``, because rows shift between pages."""
PAGES_MAX = 100_000
WINDOW_MAX = timedelta(days=7)
WINDOW_MIN = timedelta(seconds=10)
WINDOW_ROWS_MAX = 20_000
"""A window of the list that is walked at once: what one walk holds and what has to be walked again do not grow with the range."""
WINDOW_MARGIN = timedelta(seconds=1)
"""Asked for on either side of a window: whether ``createdAfter`` and ``createdBefore`` include their bound is not documented."""

REDIRECTS = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER, HTTPStatus.PERMANENT_REDIRECT})

_RESULT = pa.struct([("id", TEXT), ("executionId", TEXT), ("outcome", TEXT), ("reasoning", TEXT), ("createdAt", MOMENT)])
_COMMENT = pa.struct(
    [
        ("id", TEXT),
        ("executionId", TEXT),
        ("userId", TEXT),
        ("content", TEXT),
        ("public", FLAG),
        ("createdAt", MOMENT),
        ("updatedAt", MOMENT),
    ]
)
_LABEL = pa.struct([("id", TEXT), ("organizationId", TEXT), ("name", TEXT), ("color", TEXT), ("createdAt", MOMENT)])
_OPTIONS = pa.struct([("sharedStorageKey", TEXT), ("variantKey", TEXT), ("softTimeoutMins", WHOLE)])
_SCRIPT_FAILURE = pa.struct(
    [
        ("nodeId", TEXT),
        ("nodeName", TEXT),
        ("scriptFilepath", TEXT),
        ("error", TEXT),
        ("failedLine", WHOLE),
        ("step", WHOLE),
        ("actionId", TEXT),
        ("occurredAt", MOMENT),
    ]
)

FIELDS = (
    Field("id", "id", TEXT, "The execution's id."),
    Field("status", "status", TEXT, "How far it is; at the end completed, cancelled or failed."),
    Field("createdAt", "created_at", MOMENT, "When the execution was created, or put into the queue; UTC."),
    Field("startedAt", "started_at", MOMENT, "When it began to run; empty while queued, and in older answers."),
    Field("terminalAt", "terminal_at", MOMENT, "When it ended."),
    Field("duration", "duration", NUMBER, "Seconds from start to end; ended executions only."),
    Field("organizationId", "organization_id", TEXT, "The organization that it belongs to."),
    Field("agentId", "agent_id", TEXT, "The agent that ran. Later answers call the same id workflowId."),
    Field("agentName", "agent_name", TEXT, "The agent's display name."),
    Field("workflowId", "workflow_id", TEXT, "The workflow's id; the version's where workflow_version_id is empty."),
    Field("workflowName", "workflow_name", TEXT, "The workflow's display name; later answers only."),
    Field("workflowVersionId", "workflow_version_id", TEXT, "The version that ran; it marks the later answers."),
    Field("workflowVersion", "workflow_version", WHOLE, "Number of the workflow version, while it exists."),
    Field("workflowVersionPublished", "workflow_version_published", FLAG, "Whether the workflow version is published now."),
    Field("customEnvironmentId", "custom_environment_id", TEXT, "The environment that the version boots from, if any."),
    Field("agentProfileId", "agent_profile_id", TEXT, "The profile that was used, if any; later profile_id."),
    Field("agentProfileName", "agent_profile_name", TEXT, "Its name; later profile_name."),
    Field("profileId", "profile_id", TEXT, "The profile that was used, if any; later answers only."),
    Field("profileName", "profile_name", TEXT, "Its name; later answers only."),
    Field("inputs", "inputs", TEXT, "The input variables, as JSON.", json=True),
    Field("metadata", "metadata", TEXT, "Key and value pairs attached by the caller, as JSON.", json=True),
    Field("executionOptions", "execution_options", _OPTIONS, "Options of this run; softTimeoutMins is in minutes."),
    Field("executionResult", "execution_result", _RESULT, "Outcome and reasoning; the result data is in the raw JSON."),
    Field("triggerContext", "trigger_context", TEXT, "How and by whom it was started, as JSON.", json=True),
    Field("humanLabels", "human_labels", pa.list_(_LABEL), "Labels that people gave it."),
    Field("comments", "comments", pa.list_(_COMMENT), "Comments that people wrote on it."),
    Field("scriptFailures", "script_failures", pa.list_(_SCRIPT_FAILURE), "Failures of scripts in this run."),
    Field("hasBeenRerun", "has_been_rerun", FLAG, "Whether it was run again at least once."),
    Field("parentExecutionId", "parent_execution_id", TEXT, "The execution that this one is a rerun of."),
    Field("recordingUrl", "recording_url", TEXT, "Asteroid's recording URL, without its signature."),
    Field("browserRecordingUrl", "browser_recording_url", TEXT, "Older name of recording_url."),
    Field("liveViewUrl", "live_view_url", TEXT, "Live view while it ran, without its signature."),
    Field("browserLiveViewUrl", "browser_live_view_url", TEXT, "Older name of live_view_url."),
    Field("platformUrl", "platform_url", TEXT, "The execution's page in Asteroid's own interface."),
    Field("purgedAt", "purged_at", MOMENT, "When the retention purge emptied it; the row is then a tombstone."),
)

LINK_ANSWERS = {
    307: Answer(None, "the Location is a short-lived presigned URL"),
    302: Answer(None, "not documented; taken like 307"),
    303: Answer(None, "not documented; taken like 307"),
    308: Answer(None, "not documented; taken like 307"),
    400: Answer(UnexpectedAnswerError, "Asteroid did not understand the request: is the id a UUID?"),
    401: Answer(BlockedError, "Asteroid does not accept the key"),
    403: Answer(BlockedError, "the key may not see this execution"),
    404: Answer(AbsentError, "no recording; told apart by the execution itself: not ready, purged, unknown or absent"),
    500: Answer(TransientError, "server error at Asteroid"),
}
READ_ANSWERS = {
    200: Answer(None, "the execution, or a page of them"),
    400: Answer(UnexpectedAnswerError, "Asteroid did not understand the request"),
    401: Answer(BlockedError, "Asteroid does not accept the key"),
    403: Answer(BlockedError, "the key may not see this; customers' keys may need an organization id"),
    404: Answer(AbsentError, "Asteroid does not know the id"),
    500: Answer(TransientError, "server error at Asteroid"),
}
# The list has no id that could be unknown, so a 404 there is a wrong address.
_LIST_ANSWERS = READ_ANSWERS | {404: Answer(BlockedError, "no list of executions at this address")}


class _ListPage(msgspec.Struct, rename="camel"):
    items: list[msgspec.Raw] | None  # Go writes an empty list as null
    total: object = None
    page_size: object = None


class _Execution(msgspec.Struct, rename="camel"):
    """What tells a 404 apart; any type is taken, so that a drifting field is no fault here."""

    status: object = None
    created_at: object = None
    terminal_at: object = None
    duration: object = None
    purged_at: object = None
    recording_url: object = None
    browser_recording_url: object = None


class _NotFound(msgspec.Struct):
    code: float
    message: str


class _Walk:
    """One walk through a window's pages, and whether it can have missed a row."""

    def __init__(self) -> None:
        self.seen: set[str | bytes] = set()
        self.totals: list[int] = []

    def add(self, listing: Listing, total: int | None) -> bool:
        """Count a page in; return False when it brought nothing new."""
        before = len(self.seen)
        self.seen.update(record.execution_id for record in listing.records)
        self.seen.update(raw for raw, _ in listing.problems)
        if total is not None:
            self.totals.append(total)
        return len(self.seen) > before

    @property
    def complete(self) -> bool:
        """Whether the count is that of the provider, and no row went away (which shifts others past the walk)."""
        return not self.totals or (len(self.seen) == self.totals[-1] and self.totals == sorted(self.totals))


class AsteroidClient(ApiProvider):
    """A live client of Asteroid's API."""

    name: str = NAME

    def __init__(
        self, service: Service, settings: Settings, runtime: Runtime, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Open the client."""
        super().__init__(ApiClient(service, runtime, transport=transport), settings, runtime)
        self._organization = settings.asteroid_organization_id

    def find(self, window: Window) -> Iterator[Page]:
        """Yield the executions created in ``window``, in bounded windows that follow each other.

        A window that holds more than WINDOW_ROWS_MAX executions by its first page's ``total`` is halved. Each is walked by page,
        in the order of creation. Where the count differs from ``total``, or ``total`` shrank on the way, it is walked again,
        WALKS_MAX times in all; what stays open then is a problem in its last page.
        """
        spans = list(_spans(window))[::-1]
        filtered = True
        while spans:
            span = spans.pop()
            first = yield from self._find(span, halve=filtered)
            if first is not None:
                filtered = _is_filtered(first, span)
                spans += _halves(span)[::-1] if filtered else [span]
            elif spans:
                yield Page((), (), span)

    def _find(self, window: Window, *, halve: bool) -> Generator[Page, None, Listing | None]:
        """Yield the executions of one window, and return None; return its first page instead where it should be halved."""
        told: set[str | bytes] = set()
        walk = _Walk()
        for number in range(WALKS_MAX):
            walk = _Walk()
            for listing in self._walk(window, walk):
                if halve and number == 0 and not told and max(walk.totals, default=0) > WINDOW_ROWS_MAX and _halves(window):
                    return listing
                page = _news(listing, window, told)
                if page.records or page.problems:
                    yield page
            if walk.complete:
                return None
        what = (
            f"Asteroid counts {walk.totals[-1]} executions, {len(walk.seen)} were listed, in {WALKS_MAX} walks: "
            "rows moved between the pages, so some may be missing until this day is read again"
        )
        yield Page((), (Problem(f"executions created from {iso_text(window.start)} to {iso_text(window.end)}", what),))
        return None

    def _walk(self, window: Window, walk: _Walk) -> Iterator[Listing]:
        subject = Subject(NAME)
        for number in range(1, PAGES_MAX + 1):
            params = self._list_params(window, number)
            answer = self._next_page(partial(self._list, params), begun=number > 1)
            items = answer.items or []
            listing = read_items(items, f"page {number}")
            total = answer.total if isinstance(answer.total, int) else None
            news = walk.add(listing, total)
            yield listing
            # A short page ends the list only where the count agrees: the API may cap pageSize without saying so.
            size = answer.page_size if isinstance(answer.page_size, int) else PAGE_SIZE
            if not news or (len(items) < size and total is not None and len(walk.seen) >= total):
                return
        raise UnexpectedAnswerError(subject, f"the list of executions did not end after {PAGES_MAX} pages")

    def _list(self, params: Mapping[str, str]) -> _ListPage:
        reply = self._api.get(("executions",), _LIST_ANSWERS, Subject(NAME), params=params)
        return read_page(reply, _ListPage, "items")

    def _list_params(self, window: Window, number: int) -> dict[str, str]:
        params = {
            "page": str(number),
            "pageSize": str(PAGE_SIZE),
            "sort": "created_at:asc",
            "createdAfter": iso_text(window.start - WINDOW_MARGIN),
            "createdBefore": iso_text(window.end + WINDOW_MARGIN),
        }
        if self._organization:
            params["organizationId"] = self._organization
        return params

    def get(self, execution_id: str) -> ExecutionRecord:
        """Return one execution (Asteroid documentation, "Get execution")."""
        reply = self._fetch(execution_id, Subject(NAME, execution_id))
        record = read_item(reply.body, "the execution")
        if isinstance(record, Problem):
            what = f"the answer is not an execution: {record.what}"
            raise reply.unexpected(what)
        return record

    def _fetch(self, execution_id: str, subject: Subject) -> Reply:
        path = ("executions", checked_id(execution_id, subject))
        reply = self._api.get(path, READ_ANSWERS, subject, hand_back={HTTPStatus.NOT_FOUND})
        if reply.status == HTTPStatus.NOT_FOUND:
            raise AbsentError(
                subject,
                f"Asteroid does not know this id at {self.base_url}",
                http_status=reply.status,
                certain=_is_documented_404(reply),
            )
        return reply

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Ask for the recording's address (Asteroid documentation, "Get recording redirect").

        A 404 is followed by one look at the execution, to tell *not ready*, *purged*, *unknown* and *absent* apart.
        """
        subject = Subject(NAME, execution_id, leg)
        if leg is not Leg.MAIN:
            raise AbsentError(subject, "an Asteroid execution has no recording but its main one")
        path = ("executions", checked_id(execution_id, subject), "recording")
        reply = self._api.get(path, LINK_ANSWERS, subject, hand_back={HTTPStatus.NOT_FOUND})
        if reply.status == HTTPStatus.NOT_FOUND:
            raise self._why_none(execution_id, subject)
        return link_from_redirect(reply, self._now())

    def _why_none(self, execution_id: str, subject: Subject) -> RecordingError:
        status = HTTPStatus.NOT_FOUND
        facts = self._fetch(execution_id, subject).json(_Execution)
        if facts.purged_at is not None:
            return PurgedError(subject, "Asteroid's retention purge removed the recording", http_status=status)
        if not _is_terminal(facts):
            return NotReadyError(subject, f"the execution has not ended: {str(facts.status)[:40]}", http_status=status)
        if facts.recording_url or facts.browser_recording_url:
            return NotReadyError(subject, "the execution names a recording that is not served yet", http_status=status)
        ended_at = _ended_at(facts)
        if ended_at is not None and self._now() - ended_at <= self._grace:
            return NotReadyError(subject, "no recording yet, and the execution ended a short while ago", http_status=status)
        return AbsentError(subject, "the execution ended and has no recording", http_status=status)


def _spans(window: Window) -> Iterator[Window]:
    """Yield the parts of a window, each of WINDOW_MAX at most."""
    start = window.start
    while start < window.end:
        end = min(start + WINDOW_MAX, window.end)
        yield Window(start, end)
        start = end


def _halves(window: Window) -> list[Window]:
    """Return the two halves of a window, or none where it is about as short as the margin around it."""
    length = window.end - window.start
    if length <= WINDOW_MIN:
        return []
    middle = window.start + timedelta(seconds=length // timedelta(seconds=2))
    return [Window(window.start, middle), Window(middle, window.end)]


def _is_filtered(listing: Listing, window: Window) -> bool:
    """Tell whether a page of a window's executions is of that window; else shorter windows would be no smaller."""
    asked = Window(window.start - WINDOW_MARGIN, window.end + 2 * WINDOW_MARGIN)
    return bool(listing.records) and all(record.created_at in asked for record in listing.records)


def _news(listing: Listing, window: Window, told: set[str | bytes]) -> Page:
    """Return what of a page was not told before and lies in the window; marks it as told."""
    records: list[ExecutionRecord] = []
    for record in listing.records:
        if record.created_at in window and record.execution_id not in told:
            told.add(record.execution_id)
            records.append(record)
    problems = tuple(problem for raw, problem in listing.problems if raw not in told)
    told.update(raw for raw, _ in listing.problems)
    return Page(tuple(records), problems)


def _is_documented_404(reply: Reply) -> bool:
    """Whether a 404 is Asteroid's own (Common.NotFoundErrorBody), and not some web server's at a wrong base URL."""
    try:
        return msgspec.json.decode(reply.body, type=_NotFound).code == HTTPStatus.NOT_FOUND
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _is_terminal(facts: _Execution) -> bool:
    status = facts.status.lower() if isinstance(facts.status, str) else None
    return status in TERMINAL_STATUSES or (facts.terminal_at is not None and status not in ACTIVE_STATUSES)


def _ended_at(facts: _Execution) -> datetime | None:
    """Return when an execution ended; without ``terminalAt``, the best that its creation and duration say."""
    ended_at = moment_of(facts.terminal_at)
    created_at = moment_of(facts.created_at)
    if ended_at is not None or created_at is None:
        return ended_at
    seconds = facts.duration if isinstance(facts.duration, int | float) else 0
    try:
        return created_at + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return created_at


def _normalised(base_url: str) -> str:
    """Return the base URL with ``/agents/v2``, which the SDK adds to the host by itself."""
    url = checked_base_url(base_url, "ASTEROID_BASE_URL")
    return url if url.endswith(API_PATH) else url + API_PATH


def build(settings: Settings, runtime: Runtime, transport: httpx.BaseTransport | None = None) -> Provider | None:
    """Make the client, or return None when ``ASTEROID_API_KEY`` is not set.

    Raises:
        SettingsError: the key or the base URL cannot be used.
    """
    if settings.asteroid_api_key is None:
        return None
    service = Service(
        provider=NAME,
        base_url=_normalised(settings.asteroid_base_url),
        base_setting="ASTEROID_BASE_URL",
        key_setting="ASTEROID_API_KEY, and ASTEROID_ORGANIZATION_ID where the key needs one",
        headers={KEY_HEADER: checked_key(settings.asteroid_api_key, "ASTEROID_API_KEY")},
    )
    return AsteroidClient(service, settings, runtime, transport=transport)


SPEC = ProviderSpec(
    name=NAME,
    title="Asteroid",
    view="asteroid_executions",
    key_setting="ASTEROID_API_KEY",
    fields=FIELDS,
    canonical_sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
    tombstone_field="purgedAt",
    meaning_changes={"workflowVersionId": ("workflowId",)},
    link_answers=LINK_ANSWERS,
    read_answers=READ_ANSWERS,
    build=build,
    # The browser is recorded while it runs; a run also waits, for an environment or for a person.
    expected_lengths={Leg.MAIN: ExpectedLength("duration", Bound.AT_MOST)},
)
