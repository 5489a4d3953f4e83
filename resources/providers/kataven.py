"""Kataven: voice sessions, whose recordings are audio.

Sources: Kataven documentation, "Call recordings"; for the base URL, the key's forms and the rate limits, Kataven's other public
pages. No endpoint lists sessions, so they are found in the user's own files (:mod:`resources.providers.inventory`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn, cast

import httpx

from resources.errors import (
    AbsentError,
    BlockedError,
    InventoryError,
    NotReadyError,
    RateLimitedError,
    SettingsError,
    Subject,
    TransientError,
    UnexpectedAnswerError,
)
from resources.model import ExecutionRecord, Leg, Link, Window
from resources.providers.api import ApiClient, Reply, Service, checked_base_url, checked_id, checked_key
from resources.providers.client import ApiProvider
from resources.providers.columns import MOMENT, NUMBER, TEXT
from resources.providers.inventory import SETTING as INVENTORY_SETTING
from resources.providers.inventory import checked_locations, joined, read_sessions
from resources.providers.links import by_our_clock, link_to
from resources.providers.moments import expiry_in_url, moment_of
from resources.providers.protocol import Answer, Bound, ExpectedLength, Field, Page, Problem, Provider, ProviderSpec, Runtime
from resources.providers.ratelimit import RateLimiter, parse_rates
from resources.settings import Settings

NAME = "kataven"
KEY_HEADER = "Authorization"
ACCOUNT_HEADER = "X-Account-ID"
JWT_PREFIX = "eyJ"
ACCOUNT_KEY_PREFIX = "sk_live_"

LINK_LIFE = timedelta(minutes=5)
"""Kataven documentation, call recordings: "The URL expires in 5 minutes"."""
LINK_LIFE_MAX_SECONDS = 7 * 86_400
"""A number up to here is a life in seconds (S3 signs for 7 days at most); beyond it, an epoch."""
PAGE_RECORDS = 500

# The documentation calls the body an object and names none of its keys; compared without case and underscores.
_URL_KEYS = ("url", "presignedurl", "recordingurl")
_EXPIRY_KEYS = ("expiresat", "expiresin")

FIELDS = (
    Field("session_id", "session_id", TEXT, "The session's id."),
    Field("started_at", "started_at", MOMENT, "When the session began; UTC."),
    Field("ended_at", "ended_at", MOMENT, "When it ended, if the inventory says so."),
    Field("status", "status", TEXT, "The inventory's own word for how far it is."),
    Field("direction", "direction", TEXT, "Inbound or outbound, in the inventory's words."),
    Field("phone_number", "phone_number", TEXT, "The other party's number."),
    Field("campaign_id", "campaign_id", TEXT, "The campaign that placed the call."),
    Field("contact_id", "contact_id", TEXT, "The campaign's contact."),
    Field("agent_id", "agent_id", TEXT, "The agent that spoke."),
    Field("agent_name", "agent_name", TEXT, "Its name."),
    Field("duration_seconds", "duration_seconds", NUMBER, "Length in seconds, if the inventory says so."),
)

LINK_ANSWERS = {
    200: Answer(None, "an object with the presigned URL, which lives 5 minutes"),
    400: Answer(BlockedError, "Kataven misses the X-Account-ID header"),
    401: Answer(BlockedError, "Kataven does not accept the key"),
    403: Answer(BlockedError, "the key may not see this session"),
    404: Answer(AbsentError, "no recording for this session; a wrong base URL gives the same answer"),
    409: Answer(NotReadyError, "the recording is not uploaded yet"),
    429: Answer(RateLimitedError, "more requests than Kataven allows"),
    500: Answer(TransientError, "internal error at Kataven"),
    503: Answer(NotReadyError, "recording playback is not configured at Kataven"),
}
_JUDGED_HERE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE})


class KatavenClient(ApiProvider):
    """A live client of Kataven's API, and a reader of the session inventory."""

    name: str = NAME

    def __init__(
        self, service: Service, settings: Settings, runtime: Runtime, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Open the client.

        Raises:
            SettingsError: the inventory's setting or the rate limits cannot be used.
        """
        self._locations = checked_locations(settings.kataven_sessions)
        rates = parse_rates(settings.kataven_rate_limits, "KATAVEN_RATE_LIMITS")
        limiter = RateLimiter(rates, settings.kataven_max_in_flight, runtime, provider=NAME)
        super().__init__(ApiClient(service, runtime, limiter=limiter, transport=transport), settings, runtime)

    def find(self, window: Window) -> Iterator[Page]:
        """Yield the inventory's sessions that started in ``window``.

        A session may stand in several places (placed here, ended there): later lines add to it, and keep its first start, so
        that it stays in its day, whatever the window. All the inventory's problems are told: a line without a start time belongs
        to no day. Memory grows with the inventory's ids, and the lines of the window.
        """
        starts: dict[str, datetime] = {}
        sessions: dict[str, ExecutionRecord] = {}
        problems: list[Problem] = []
        for item in read_sessions(self._locations):
            if isinstance(item, Problem):
                problems.append(item)
            elif starts.setdefault(item.execution_id, item.created_at) in window:
                known = sessions.get(item.execution_id)
                sessions[item.execution_id] = item if known is None else joined(known, item)
        records = tuple(sessions.values())
        yield Page((), tuple(problems))
        for start in range(0, len(records), PAGE_RECORDS):
            yield Page(records[start : start + PAGE_RECORDS])

    def get(self, execution_id: str) -> ExecutionRecord:
        """Return one session as the inventory has it. Reads the whole inventory in the worst case: no endpoint knows more.

        Raises:
            InventoryError: it is not there. Never AbsentError: a missing line says nothing about the session.
        """
        for item in read_sessions(self._locations):
            if isinstance(item, ExecutionRecord) and item.execution_id == execution_id:
                return item
        msg = f"session {execution_id[:64]!a} is not in the session inventory ({INVENTORY_SETTING})"
        raise InventoryError(msg)

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Ask for the recording's address (Kataven documentation, call recordings)."""
        subject = Subject(NAME, execution_id, leg)
        if leg is not Leg.MAIN:
            raise AbsentError(subject, "a Kataven session has no recording but its main one")
        path = ("sessions", checked_id(execution_id, subject), "recording")
        reply = self._api.get(path, LINK_ANSWERS, subject, hand_back=_JUDGED_HERE)
        if reply.status in _JUDGED_HERE:
            self._raise_why_none(reply)
        return _link_of(reply, self._now())

    def _raise_why_none(self, reply: Reply) -> NoReturn:
        subject, status = reply.subject, reply.status
        if status == HTTPStatus.NOT_FOUND:
            raise AbsentError(subject, LINK_ANSWERS[404].meaning, http_status=status, certain=False)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise NotReadyError(subject, LINK_ANSWERS[503].meaning, http_status=status, slow=True)
        # 400 is documented for the missing account alone. Other words are about this one session, and must not stop the rest.
        if not reply.body.strip() or b"account" in reply.body.lower():
            detail = f"400 Bad Request: {LINK_ANSWERS[400].meaning}. Check KATAVEN_ACCOUNT_ID and KATAVEN_API_KEY"
            raise BlockedError(subject, detail, http_status=status)
        raise UnexpectedAnswerError(subject, "Kataven did not understand the request", http_status=status)


def _link_of(reply: Reply, now: datetime) -> Link:
    """Return the link in an answer whose keys are not documented: at its top, or one level down."""
    top = cast("dict[str, object]", reply.json(dict))
    nested = (cast("dict[str, object]", value) for value in top.values() if isinstance(value, dict))
    for candidate in (top, *nested):
        plain = {key.replace("_", "").lower(): value for key, value in candidate.items()}
        address = next((plain[key] for key in _URL_KEYS if isinstance(plain.get(key), str)), None)
        if isinstance(address, str):
            told = by_our_clock(reply, _moment_in(plain), now) or _life_in(plain, now)
            visible = by_our_clock(reply, expiry_in_url(address), now)
            return link_to(reply, address, now, told or visible or now + LINK_LIFE)
    raise reply.unexpected("no URL in the answer under url, presigned_url or recording_url")


def _moment_in(answer: Mapping[str, object]) -> datetime | None:
    """Return the moment at which the link lapses, by Kataven's clock."""
    return next((moment for key in _EXPIRY_KEYS if (moment := moment_of(answer.get(key))) is not None), None)


def _life_in(answer: Mapping[str, object], now: datetime) -> datetime | None:
    """Return the same by our clock, where the answer says for how long the link lives."""
    return next((moment for key in _EXPIRY_KEYS if (moment := _after(answer.get(key), now)) is not None), None)


def _after(value: object, now: datetime) -> datetime | None:
    """Return the moment ``value`` seconds from now, when it is a number or its text, above 0 and no longer than a link lives."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return None
    return now + timedelta(seconds=seconds) if 0 < seconds <= LINK_LIFE_MAX_SECONDS else None


def _headers(settings: Settings, key: str) -> dict[str, str]:
    """Return what identifies us: an ``sk_live_`` key holds its account, a JWT needs the account beside it."""
    headers = {KEY_HEADER: f"Bearer {key}"}
    account = settings.kataven_account_id
    if key.startswith(JWT_PREFIX) and not account:
        msg = "KATAVEN_ACCOUNT_ID is not set: KATAVEN_API_KEY is a JWT (eyJ...), with which Kataven wants the account's name too."
        raise SettingsError(msg)
    if account and not key.startswith(ACCOUNT_KEY_PREFIX):
        headers[ACCOUNT_HEADER] = account
    return headers


def build(settings: Settings, runtime: Runtime, transport: httpx.BaseTransport | None = None) -> Provider | None:
    """Make the client, or return None when ``KATAVEN_API_KEY`` is not set.

    Raises:
        SettingsError: the key, the account, the base URL, the inventory's address or the rate limits cannot be used.
    """
    if settings.kataven_api_key is None:
        return None
    key = checked_key(settings.kataven_api_key, "KATAVEN_API_KEY")
    service = Service(
        provider=NAME,
        base_url=checked_base_url(settings.kataven_base_url, "KATAVEN_BASE_URL"),
        base_setting="KATAVEN_BASE_URL",
        key_setting="KATAVEN_API_KEY, and KATAVEN_ACCOUNT_ID where the key is a JWT",
        headers=_headers(settings, key),
    )
    return KatavenClient(service, settings, runtime, transport=transport)


SPEC = ProviderSpec(
    name=NAME,
    title="Kataven",
    view="kataven_sessions",
    key_setting="KATAVEN_API_KEY",
    fields=FIELDS,
    canonical_sql=Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
    tombstone_field=None,
    link_answers=LINK_ANSWERS,
    read_answers={},
    build=build,
    # Only what the inventory calls a duration: between its times may lie the ringing, or until somebody wrote them down.
    expected_lengths={Leg.MAIN: ExpectedLength("duration_seconds", Bound.EQUAL)},
)
