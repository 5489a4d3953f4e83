"""What the provider tests know of each provider beside its description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from resources.errors import RecordingError
from resources.model import Window
from resources.providers import asteroid, feather, kataven
from resources.providers.protocol import Page, Provider, ProviderSpec, Runtime
from resources.settings import load_settings
from tests.providers.server import Canned, json_answer

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = Window.of_days(NOW.date() - timedelta(days=1), NOW.date() - timedelta(days=1))
LONG_AGO = "2026-10-01T10:00:00Z"
SECRET_QUERY = "X-Amz-Signature=deadbeefdeadbeef"  # noqa: S105 - a made-up one, to look for in texts
PRESIGNED = f"https://media.example.com/rec/1.mp4?{SECRET_QUERY}&Expires=1795000000"


class FakeClock:
    """Time that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.naps.append(seconds)
        self.seconds += seconds

    @property
    def runtime(self) -> Runtime:
        """The clock as the clients take it."""
        return Runtime(now=lambda: NOW + timedelta(seconds=self.seconds), monotonic=lambda: self.seconds, sleep=self.sleep)


@dataclass(frozen=True, slots=True)
class Case:
    """One provider under the shared contract.

    Attributes:
        spec: its description.
        key: its API key in these tests.
        base: what follows the server's address in its base URL.
        settings: what else it needs.
        link_path: path of the question for the recording of ``e1``, below the server.
        read_path: path of the question for ``e1`` itself, or None when there is none.
        list_path: path of the list, or None when there is none.
        good_link: the good answer to the former.
        ended: ``e1`` as the API describes it when it ended long ago without a recording.
        documented_link: the statuses that the vendor's page of the recording endpoint lists.
        documented_read: the same for the execution itself.
    """

    spec: ProviderSpec
    key: str
    base: str
    settings: Mapping[str, object]
    link_path: str
    read_path: str | None
    list_path: str | None
    good_link: Canned
    ended: object
    documented_link: frozenset[int]
    documented_read: frozenset[int] = field(default=frozenset())

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.spec.name

    def build(self, url: str, folder: Path, clock: FakeClock, **settings: object) -> Provider:
        """Make its client on the server at ``url``."""
        inventory = folder / "sessions.jsonl"
        if not inventory.exists():
            inventory.write_text(json.dumps({"session_id": "e1", "started_at": LONG_AGO}) + "\n")
        own: dict[str, object] = {
            f"{self.name}_api_key": self.key,
            f"{self.name}_base_url": url + self.base,
            "kataven_sessions": str(inventory),
            **self.settings,
        }
        provider = self.spec.build(load_settings(None, **(own | settings)), clock.runtime)
        assert provider is not None
        return provider


ASTEROID = Case(
    spec=asteroid.SPEC,
    key="asteroid-key-0123456789",
    base="/agents/v2",
    settings={},
    link_path="/agents/v2/executions/e1/recording",
    read_path="/agents/v2/executions/e1",
    list_path="/agents/v2/executions",
    good_link=Canned(307, b"", {"Location": PRESIGNED, "Cache-Control": "no-store"}),
    ended={"id": "e1", "createdAt": LONG_AGO, "terminalAt": LONG_AGO, "status": "completed"},
    documented_link=frozenset({307, 400, 401, 403, 404, 500}),
    documented_read=frozenset({200, 400, 401, 403, 404, 500}),
)
FEATHER = Case(
    spec=feather.SPEC,
    key="feather-key-0123456789",
    base="",
    settings={},
    link_path="/api/v1/agent-calls/e1/recording-url",
    read_path="/api/v1/agent-calls/e1",
    list_path="/api/v1/agent-calls",
    good_link=json_answer({"url": PRESIGNED, "expiresAt": "2026-11-21T12:05:00Z"}),
    ended={"agentCall": {"id": "e1", "createdAt": LONG_AGO, "callEndedAt": LONG_AGO, "status": "COMPLETED"}},
    documented_link=frozenset({200, 400, 500, 503}),
)
KATAVEN = Case(
    spec=kataven.SPEC,
    key="sk_live_acme_0123456789",
    base="/v1",
    settings={},
    link_path="/v1/sessions/e1/recording",
    read_path=None,
    list_path=None,
    good_link=json_answer({"url": PRESIGNED}),
    ended=None,
    documented_link=frozenset({200, 400, 404, 409, 500, 503}),
)
CASES = (ASTEROID, FEATHER, KATAVEN)
READING_CASES = (ASTEROID, FEATHER)


def collect(pages: object) -> tuple[list[str], list[str]]:
    """Return the ids of all records of a walk, and the texts of all its problems."""
    ids: list[str] = []
    problems: list[str] = []
    for page in pages:  # type: ignore[attr-defined]
        assert isinstance(page, Page)
        ids += [record.execution_id for record in page.records]
        problems += [f"{problem.where}: {problem.what}" for problem in page.problems]
    return ids, problems


def fault_of(question: object, *args: object) -> RecordingError:
    """Return the error that a question ends with."""
    try:
        question(*args)  # type: ignore[operator]
    except RecordingError as error:
        return error
    msg = "no error came"
    raise AssertionError(msg)
