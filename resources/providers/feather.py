"""Feather: phone calls, whose recordings are audio; a warm transfer has a second recording, the supervisor's leg.

Sources: Feather documentation, "Get a fresh presigned recording URL"; for the list, the call object and the statuses, Feather's
other public pages on agent calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import NoReturn

import httpx
import msgspec
import pyarrow as pa

from resources.errors import (
    AbsentError,
    BlockedError,
    NotReadyError,
    RecordingError,
    Subject,
    TransientError,
    UnexpectedAnswerError,
)
from resources.model import ExecutionRecord, Leg, Link, Window
from resources.providers.api import ApiClient, Reply, Service, checked_base_url, checked_id, checked_key
from resources.providers.client import ApiProvider
from resources.providers.columns import FLAG, MOMENT, NUMBER, TEXT
from resources.providers.links import by_our_clock, link_to
from resources.providers.listing import PAGE_SIZE, Listing, read_item, read_items
from resources.providers.moments import moment_of
from resources.providers.pages import read_page
from resources.providers.protocol import Answer, Bound, ExpectedLength, Field, Page, Problem, Provider, ProviderSpec, Runtime
from resources.settings import Settings

NAME = "feather"
KEY_HEADER = "X-API-Key"
CALLS_PATH = ("api", "v1", "agent-calls")

TERMINAL_STATUSES = frozenset({"completed", "failed"})
ACTIVE_STATUSES = frozenset({"pending", "in_progress"})
"""Statuses of a call that goes on. Others exist (no_answer, say): such a call has ended when it has an end time."""

AGE_MARGIN = timedelta(hours=1)
"""How much older than the window a whole page must be: the list's order is not documented, and may be off by a little."""
OLD_PAGES_MIN = 2
"""How many such pages in a row end the walk."""
BARREN_PAGES_MAX = 20
"""How many pages in a row may bring no new call before the list counts as going in circles."""
SEEN_MAX = 100_000
"""How many calls back a repeated one is known again: what shifts between pages comes back at once."""
_INSTANT = timedelta(microseconds=1)

FIELDS = (
    Field("id", "id", TEXT, "The call's id."),
    Field("organizationId", "organization_id", TEXT, "The organization that it belongs to."),
    Field("status", "status", TEXT, "PENDING, IN_PROGRESS, COMPLETED, FAILED; others exist."),
    Field("createdAt", "created_at", MOMENT, "When the call was created; UTC."),
    Field("updatedAt", "updated_at", MOMENT, "When Feather last changed the call."),
    Field("callStartedAt", "call_started_at", MOMENT, "When the call began."),
    Field("callEndedAt", "call_ended_at", MOMENT, "When the call ended."),
    Field("callDuration", "call_duration", NUMBER, "Length of the call in seconds."),
    Field("callEndedReason", "call_ended_reason", TEXT, "Why it ended; WARM_TRANSFER has a supervisor's leg too."),
    Field("callEndedBy", "call_ended_by", TEXT, "Who ended it."),
    Field("mode", "mode", TEXT, "AUDIO or WEB."),
    Field("outbound", "outbound", FLAG, "Whether the agent placed the call."),
    Field("fromPhoneNumber", "from_phone_number", TEXT, "The caller's number."),
    Field("toPhoneNumber", "to_phone_number", TEXT, "The number that was called."),
    Field(
        "customer", "customer", pa.struct([("phoneNumber", TEXT), ("firstName", TEXT), ("lastName", TEXT)]), "Who was spoken to."
    ),
    Field("leadId", "lead_id", TEXT, "The lead that the call belongs to."),
    Field("leadState", "lead_state", TEXT, "State of the lead, as JSON.", json=True),
    Field("agentId", "agent_id", TEXT, "The agent that spoke."),
    Field("agentDetails", "agent_details", TEXT, "The agent, as JSON.", json=True),
    Field("agentVersionId", "agent_version_id", TEXT, "The agent's version."),
    Field("agentVersionDetails", "agent_version_details", TEXT, "The agent's version, as JSON.", json=True),
    Field("workflowId", "workflow_id", TEXT, "The workflow that placed the call, if any."),
    Field("recordingUrl", "recording_url", TEXT, "Feather's recording URL, without its signature."),
    Field("transcript", "transcript", TEXT, "What was said, as JSON: a string or a list.", json=True),
    Field("summary", "summary", TEXT, "Feather's summary of the call."),
    Field("variables", "variables", TEXT, "Variables of the call, as JSON.", json=True),
    Field("postCallAnalysis", "post_call_analysis", TEXT, "Feather's analysis, as JSON.", json=True),
    Field(
        "structuredPostCallAnalysis",
        "structured_post_call_analysis",
        TEXT,
        "The same by the agent's own schema, as JSON.",
        json=True,
    ),
)

LINK_ANSWERS = {
    200: Answer(None, "the presigned URL and when it expires"),
    400: Answer(AbsentError, "call unknown or without a recording; told apart by the call itself: not ready, unknown or absent"),
    401: Answer(BlockedError, "not documented; Feather does not accept the key"),
    403: Answer(BlockedError, "not documented; the key may not see this call"),
    404: Answer(AbsentError, "not documented; taken like 400"),
    500: Answer(TransientError, "server error at Feather"),
    503: Answer(NotReadyError, "Feather cannot make a fresh URL now, and asks to come back shortly"),
}
READ_ANSWERS = {
    200: Answer(None, "the call, or a page of them"),
    400: Answer(AbsentError, "Feather does not know the id, or does not take it for one"),
    401: Answer(BlockedError, "not documented; Feather does not accept the key"),
    403: Answer(BlockedError, "not documented; the key may not see this"),
    404: Answer(AbsentError, "Feather does not know the id"),
    500: Answer(TransientError, "server error at Feather"),
}
# The list has no id that could be unknown.
_LIST_ANSWERS = READ_ANSWERS | {
    400: Answer(UnexpectedAnswerError, "Feather did not understand the request for a list"),
    404: Answer(BlockedError, "no list of calls at this address"),
}
_NO_SUCH_CALL = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})


class _Pagination(msgspec.Struct, rename="camel"):
    next_cursor: str | int | None = None


class _ListPage(msgspec.Struct, rename="camel"):
    agent_calls: list[msgspec.Raw] | None
    pagination: _Pagination | None = None


class _CallAnswer(msgspec.Struct, rename="camel"):
    agent_call: msgspec.Raw


class _Call(msgspec.Struct, rename="camel"):
    """What tells a 400 apart; any type is taken, so that a drifting field is no fault here."""

    status: object = None
    created_at: object = None
    call_ended_at: object = None
    updated_at: object = None


class _LinkAnswer(msgspec.Struct, rename="camel"):
    url: str
    expires_at: object = None


class _Fault(msgspec.Struct):
    message: str


@dataclass(slots=True)
class _Walk:
    """How far a walk from the newest call has come, and whether it may end."""

    window: Window
    seen: dict[str | bytes, None] = field(default_factory=dict[str | bytes, None])
    cursors: set[str] = field(default_factory=set)
    newest: deque[datetime] = field(default_factory=lambda: deque(maxlen=OLD_PAGES_MIN))
    before: datetime | None = None
    barren_pages: int = 0

    def add(self, listing: Listing) -> Page:
        """Count a page in; return what of it is new and in the window."""
        new = [record for record in listing.records if record.execution_id not in self.seen]
        records = {record.execution_id: record for record in reversed(new) if record.created_at in self.window}
        problems = tuple(problem for raw, problem in listing.problems if raw not in self.seen)
        self.barren_pages = 0 if new or problems else self.barren_pages + 1
        self._remember(listing)
        before = self.done
        self._judge_age(listing)
        done = self.done
        passed = done is not None and (before is None or done.start.date() < before.start.date())
        return Page(tuple(reversed(records.values())), problems, done if passed else None)

    def _remember(self, listing: Listing) -> None:
        self.seen.update((record.execution_id, None) for record in listing.records)
        self.seen.update((raw, None) for raw, _ in listing.problems)
        for oldest in list(islice(self.seen, max(0, len(self.seen) - SEEN_MAX))):
            del self.seen[oldest]

    def _judge_age(self, listing: Listing) -> None:
        if not listing.records:
            return
        newest = max(record.created_at for record in listing.records)
        # In a list that turned out to run from old to new, old pages say nothing about those to come.
        if self.before is None or newest <= self.before:
            self.newest.append(newest)
        else:
            self.newest.clear()
        self.before = newest

    @property
    def done(self) -> Window | None:
        """The newest part of the window, of which no more is expected; see :meth:`FeatherClient.find`."""
        if len(self.newest) < OLD_PAGES_MIN:
            return None
        start = self.newest[0] + AGE_MARGIN + _INSTANT
        return Window(max(start, self.window.start), self.window.end) if start < self.window.end else None

    @property
    def is_over(self) -> bool:
        """Whether the whole window is done."""
        done = self.done
        return done is not None and done.start == self.window.start


class FeatherClient(ApiProvider):
    """A live client of Feather's API."""

    name: str = NAME

    def __init__(
        self, service: Service, settings: Settings, runtime: Runtime, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Open the client."""
        super().__init__(ApiClient(service, runtime, transport=transport), settings, runtime)

    def find(self, window: Window) -> Iterator[Page]:
        """Yield the calls created in ``window``, newest first, in one walk for all its days.

        No date filter is known, so the walk starts at the newest call. It ends where the cursor does, or after OLD_PAGES_MIN
        pages in a row, each starting no later than the one before, that are older than the window by AGE_MARGIN as a whole. By
        the same rule each of its days counts as done.

        Raises:
            UnexpectedAnswerError: also when a cursor comes back, or BARREN_PAGES_MAX pages bring nothing new.
        """
        walk = _Walk(window)
        cursor: str | None = None
        while True:
            answer = self._next_page(partial(self._list, cursor), begun=cursor is not None)
            page = walk.add(read_items(answer.agent_calls or (), f"page {len(walk.cursors) + 1}"))
            if page.records or page.problems or page.done is not None:
                yield page
            cursor = _next_cursor(answer)
            if cursor is None or walk.is_over:
                return
            if cursor in walk.cursors or walk.barren_pages >= BARREN_PAGES_MAX:
                raise UnexpectedAnswerError(Subject(NAME), "the list of calls goes in circles: a cursor or its pages came back")
            walk.cursors.add(cursor)

    def _list(self, cursor: str | None) -> _ListPage:
        params = {"limit": str(PAGE_SIZE)} | ({"cursor": cursor} if cursor is not None else {})
        reply = self._api.get(CALLS_PATH, _LIST_ANSWERS, Subject(NAME), params=params)
        return read_page(reply, _ListPage, "agent_calls")

    def get(self, execution_id: str) -> ExecutionRecord:
        """Return one call."""
        reply = self._fetch(execution_id, Subject(NAME, execution_id))
        record = read_item(bytes(reply.json(_CallAnswer).agent_call), "the call")
        if isinstance(record, Problem):
            what = f"the answer is not a call: {record.what}"
            raise reply.unexpected(what)
        return record

    def _fetch(self, execution_id: str, subject: Subject) -> Reply:
        path = (*CALLS_PATH, checked_id(execution_id, subject))
        reply = self._api.get(path, READ_ANSWERS, subject, hand_back=_NO_SUCH_CALL)
        if reply.status in _NO_SUCH_CALL:
            raise AbsentError(
                subject,
                f"Feather does not know this id at {self.base_url}",
                http_status=reply.status,
                certain=_is_feathers_own(reply),
            )
        return reply

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Ask for a fresh URL of one leg (Feather documentation, "Get a fresh presigned recording URL").

        A 400 for the main leg is followed by one look at the call, to tell *not ready*, *unknown* and *absent* apart.
        """
        subject = Subject(NAME, execution_id, leg)
        path = (*CALLS_PATH, checked_id(execution_id, subject), "recording-url")
        reply = self._api.get(path, LINK_ANSWERS, subject, params={"type": leg.value}, hand_back=_NO_SUCH_CALL)
        if reply.status in _NO_SUCH_CALL:
            self._raise_why_none(execution_id, subject, leg, reply)
        answer = reply.json(_LinkAnswer)
        now = self._now()
        return link_to(reply, answer.url, now, by_our_clock(reply, moment_of(answer.expires_at), now))

    def _raise_why_none(self, execution_id: str, subject: Subject, leg: Leg, reply: Reply) -> NoReturn:
        if leg is Leg.SUPERVISOR:
            raise AbsentError(
                subject, "no supervisor's leg was recorded", http_status=reply.status, certain=_is_feathers_own(reply)
            )
        call = self._fetch(execution_id, subject).json(_CallAnswer).agent_call
        raise self._why_none(_decode_call(bytes(call)), subject, reply.status)

    def _why_none(self, call: _Call, subject: Subject, status: int) -> RecordingError:
        if not _is_terminal(call):
            return NotReadyError(subject, f"the call has not ended: {str(call.status)[:40]}", http_status=status)
        ended_at = moment_of(call.call_ended_at) or moment_of(call.updated_at) or moment_of(call.created_at)
        if ended_at is not None and self._now() - ended_at <= self._grace:
            return NotReadyError(subject, "no recording yet, and the call ended a short while ago", http_status=status)
        return AbsentError(subject, "the call ended and has no recording", http_status=status)


def _is_terminal(call: _Call) -> bool:
    status = call.status.lower() if isinstance(call.status, str) else None
    return status in TERMINAL_STATUSES or (call.call_ended_at is not None and status not in ACTIVE_STATUSES)


def _decode_call(raw: bytes) -> _Call:
    try:
        return msgspec.json.decode(raw, type=_Call)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Call()


def _next_cursor(answer: _ListPage) -> str | None:
    """Return the next cursor; absent, null and empty all mean the end (what ends the list is not documented)."""
    cursor = answer.pagination.next_cursor if answer.pagination else None
    return str(cursor) if cursor not in (None, "") else None


def _is_feathers_own(reply: Reply) -> bool:
    """Whether a refusal is Feather's own JSON, and not some web server's page at a wrong base URL."""
    try:
        _ = msgspec.json.decode(reply.body, type=_Fault)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def build(settings: Settings, runtime: Runtime, transport: httpx.BaseTransport | None = None) -> Provider | None:
    """Make the client, or return None when ``FEATHER_API_KEY`` is not set.

    Raises:
        SettingsError: the key or the base URL cannot be used.
    """
    if settings.feather_api_key is None:
        return None
    service = Service(
        provider=NAME,
        base_url=checked_base_url(settings.feather_base_url, "FEATHER_BASE_URL"),
        base_setting="FEATHER_BASE_URL",
        key_setting="FEATHER_API_KEY",
        headers={KEY_HEADER: checked_key(settings.feather_api_key, "FEATHER_API_KEY")},
    )
    return FeatherClient(service, settings, runtime, transport=transport)


SPEC = ProviderSpec(
    name=NAME,
    title="Feather",
    view="feather_calls",
    key_setting="FEATHER_API_KEY",
    fields=FIELDS,
    canonical_sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
    tombstone_field=None,
    link_answers=LINK_ANSWERS,
    read_answers=READ_ANSWERS,
    build=build,
    # callDuration is the call's; of the supervisor's leg nothing is said.
    expected_lengths={Leg.MAIN: ExpectedLength("callDuration", Bound.EQUAL)},
)
