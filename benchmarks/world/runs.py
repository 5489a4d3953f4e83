"""Executions as the providers send them, about 1 kB of JSON each and a few much longer, with what an archive has to know of them.

Most of a row comes from small stocks of ready fragments (see :mod:`sandbox.fiction`), so that millions are made in minutes; ids,
times and amounts are each row's own. Signatures of links are left out, as the archive leaves them out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any, NamedTuple

from assets.executions.intake import Row
from benchmarks.world.plan import LAST_DAY, NOW, Unit
from benchmarks.world.scripts import ABSENT, PURGED, RUNNING, script_of
from resources.model import Leg
from sandbox import fiction
from sandbox.seeds import generator, seeded_ulid, seeded_uuid

_DAY_MILLISECONDS = 86_400_000
_YOUNG, _LONGEST = timedelta(days=4), timedelta(days=14)
"""Ages of a day: below the first nothing has been asked for over days; from the second on nothing still runs."""
FIRST_READ = timedelta(seconds=1)
_STOCK = 64
_SUPERVISED = 0.1
"""Share of Feather's calls that are warm transfers."""
_LONG = 0.01
"""Share of rows with a long text."""
_NEW_FIELDS, _NEW_WORDS = 0.02, 0.03
"""Shares of rows with a field that no column knows, and with a word that was not seen before."""
_DRIFTING_DAYS = 20
"""One day in so many has whole numbers that are none, as after a change of the provider's API."""
_DRIFTING_ROWS = 7
"""And one row in so many of such a day."""
_LONG_TURNS = 400
_ORGANIZATION = "68a527ab-adc3-43b0-b6f1-1fc7c8325b2b"


class Run(NamedTuple):
    """One execution.

    Attributes:
        row: as the lake takes it.
        legs: the recordings that it should have.
        script: what became of them, a number in :data:`~benchmarks.world.scripts.SCRIPTS`.
        ended_at: UTC; None while it runs.
        seconds: how long it took, by its provider; None while it runs.
        number: among all executions of its provider.
    """

    row: Row
    legs: tuple[Leg, ...]
    script: int
    ended_at: datetime | None
    seconds: float | None
    number: int


class _Facts(NamedTuple):
    """What is decided of an execution before its JSON is written; texts are ISO 8601, and ``ended`` is empty while it runs."""

    id: str
    number: int
    script: int
    created: str
    ended: str
    seconds: float
    chance: float
    is_drifting: bool


def runs(unit: Unit) -> Iterator[Run]:
    """Yield the executions of a partition, the oldest first; the same unit gives the same ones."""
    rng, write = generator(unit.name), _WRITERS[unit.provider]
    midnight = datetime(unit.day.year, unit.day.month, unit.day.day, tzinfo=UTC)
    age = LAST_DAY - unit.day
    may_run, is_drifting = age < _LONGEST and unit.provider != "kataven", unit.day.toordinal() % _DRIFTING_DAYS == 0
    for place, moment in enumerate(sorted(rng.randrange(_DAY_MILLISECONDS) for _ in range(unit.executions))):
        number = unit.first + place
        script = script_of(number, may_run=may_run, is_young=age < _YOUNG)
        created_at = midnight + timedelta(milliseconds=moment)
        seconds = int(rng.lognormvariate(4.2, 0.8) * 10 + 30) / 10
        ended_at = None if script == RUNNING else created_at + timedelta(seconds=seconds)
        facts = _Facts(
            f"agent_{seeded_ulid(rng, created_at)}" if unit.provider == "kataven" else _uuid(rng),
            number,
            script,
            _text(created_at),
            _text(ended_at) if ended_at else "",
            seconds,
            rng.random(),
            is_drifting,
        )
        raw = f"{{{','.join([*write(facts, rng), *_new_field(facts, rng)])}}}"
        row = Row(facts.id, created_at, raw, created_at + FIRST_READ, NOW)
        legs = (Leg.MAIN, Leg.SUPERVISOR) if unit.provider == "feather" and _is_supervised(facts) else (Leg.MAIN,)
        yield Run(row, legs, script, ended_at, seconds if ended_at else None, number)


def _is_supervised(facts: _Facts) -> bool:
    return facts.chance < _SUPERVISED and facts.script not in (RUNNING, ABSENT)


def _asteroid(facts: _Facts, rng: Random) -> Iterator[str]:
    stock, key = _stock(), facts.number
    name, workflow, version = stock.agents[key % len(stock.agents)]
    status = ("completed", "completed", "completed", "failed", "cancelled")[key % 5] if facts.ended else "running"
    yield f'"id":"{facts.id}","status":"{_word(status, facts)}","organizationId":"{_ORGANIZATION}"'
    yield f'"agentId":"{workflow}","agentName":"{name}","workflowId":"{workflow}","workflowName":"{name}"'
    yield f'"workflowVersionId":"{version}","workflowVersion":{_whole(3 + key % 5, facts)}'
    yield f'"createdAt":"{facts.created}","startedAt":"{facts.created}","profileId":"{_uuid(rng)}","hasBeenRerun":false'
    yield f'"platformUrl":"https://platform.example.com/executions/{facts.id}"'
    if facts.ended:
        result = f'"id":"{_uuid(rng)}","executionId":"{facts.id}","outcome":"success","createdAt":"{facts.ended}"'
        yield f'"terminalAt":"{facts.ended}","duration":{facts.seconds}'
        yield f'"executionResult":{{{result},"reasoning":{_words(facts, rng)},"result":{_pick(stock.results, rng)}}}'
        yield f'"recordingUrl":"https://media.example.com/asteroid/{facts.id}/main.mp4"'
    if facts.script == PURGED:
        yield f'"purgedAt":"{facts.ended}"'
    yield f'"humanLabels":{_pick(stock.labels, rng)},"comments":{_pick(stock.comments, rng)}'
    yield f'"executionOptions":{{"sharedStorageKey":"customer-{rng.randrange(1000)}","softTimeoutMins":20}}'
    yield f'"inputs":{_pick(stock.inputs, rng)},"triggerContext":{_pick(stock.triggers, rng)}'
    yield f'"metadata":{{"batch":"{facts.created[:10]}-{key % 9}","source":"crm"}}'


def _feather(facts: _Facts, rng: Random) -> Iterator[str]:
    stock, key = _stock(), facts.number
    name, agent, version = stock.agents[key % len(stock.agents)]
    first, last = fiction.FIRST_NAMES[key % len(fiction.FIRST_NAMES)], fiction.LAST_NAMES[key % len(fiction.LAST_NAMES)]
    number, tries = fiction.phone_number(rng), _whole(1 + key % 4, facts)
    yield f'"id":"{facts.id}","organizationId":"{_ORGANIZATION}","createdAt":"{facts.created}"'
    yield f'"updatedAt":"{facts.ended or facts.created}","callStartedAt":"{facts.created}"'
    yield f'"agentId":"{agent}","agentDetails":{{"name":"{name}","language":"en-US","voice":{{"id":"riley","speed":1.05}}}}'
    yield f'"agentVersionId":"{version}","agentVersionDetails":{{"version":4,"model":"voice-2"}}'
    yield f'"mode":"AUDIO","outbound":true,"fromPhoneNumber":"+15125550129","toPhoneNumber":"{number}"'
    yield f'"customer":{{"phoneNumber":"{number}","firstName":"{first}","lastName":"{last}"}}'
    yield f'"leadId":"{_uuid(rng)}","leadState":{{"state":"CONTACTED","tries":{tries}}}'
    yield f'"status":"{_word("COMPLETED" if facts.ended else "IN_PROGRESS", facts)}"'
    if facts.ended:
        reason = "WARM_TRANSFER" if _is_supervised(facts) else "NO_ANSWER" if facts.script == ABSENT else "ENDED"
        yield f'"callEndedReason":"{reason}","callEndedBy":"AGENT","callEndedAt":"{facts.ended}","callDuration":{facts.seconds}'
        yield f'"recordingUrl":"https://media.example.com/feather/{facts.id}/main.mp3"'
        yield f'"transcript":{_words(facts, rng)},"summary":{_pick(stock.outcomes, rng)}'
        analysis = f'"sentiment":"neutral","score":{rng.randrange(1000) / 1000},"topics":["scheduling","price"]'
        yield f'"structuredPostCallAnalysis":{{{analysis},"followUp":{{"needed":false,"at":null}}}}'
    yield f'"variables":{{"firstName":"{first}","attempt":{tries}}},"workflowId":{"null" if key % 2 else _json(agent)}'


def _kataven(facts: _Facts, rng: Random) -> Iterator[str]:
    stock, key = _stock(), facts.number
    yield f'"session_id":"{facts.id}","started_at":"{facts.created}","ended_at":"{facts.ended}"'
    yield f'"status":"{_word("ended", facts)}"'
    yield f'"duration_seconds":{facts.seconds},"campaign_id":"cmp_{fiction.CAMPAIGNS[key % len(fiction.CAMPAIGNS)]}"'
    yield f'"phone_number":"{fiction.phone_number(rng)}","direction":"{"inbound" if key % 5 == 0 else "outbound"}"'
    yield f'"agent":"riley","contact":"{_uuid(rng)}","attempt":{_whole(1 + key % 3, facts)}'
    yield f'"cost":{rng.randrange(20_000) / 10_000},"notes":{_words(facts, rng)},"app":{_pick(stock.inputs, rng)}'


_WRITERS: dict[str, Callable[[_Facts, Random], Iterator[str]]] = {"asteroid": _asteroid, "feather": _feather, "kataven": _kataven}


class _Stock(NamedTuple):
    """Ready fragments of JSON."""

    agents: Sequence[tuple[str, str, str]]
    inputs: Sequence[str]
    results: Sequence[str]
    labels: Sequence[str]
    comments: Sequence[str]
    triggers: Sequence[str]
    outcomes: Sequence[str]
    turns: Sequence[str]


@cache
def _stock() -> _Stock:
    rng = generator("stock")
    people = [fiction.full_name(rng) for _ in range(_STOCK)]
    runners = [{"userId": seeded_uuid(rng), "email": fiction.email(*person), "isAdmin": False} for person in people]
    label = {"id": seeded_uuid(rng), "organizationId": _ORGANIZATION, "name": "golden", "color": "#D27E36"}
    comment = {"id": seeded_uuid(rng), "content": "Worked, but the portal asked for the code twice.", "public": True}
    invoices = [
        [{"number": f"INV-{rng.randrange(10**6):06d}", "total": round(rng.uniform(5, 500), 2)} for _ in range(3)] for _ in people
    ]
    return _Stock(
        agents=[(name, seeded_uuid(rng), seeded_uuid(rng)) for name in fiction.AGENTS],
        inputs=[
            _json(
                {
                    "startUrl": rng.choice(fiction.PORTALS).partition("?")[0],
                    "customer": {"name": " ".join(person), "tags": ["émigré"]},
                }
            )
            for person in people
        ],
        results=[_json({"invoices": each, "pages": rng.randrange(1, 9)}) for each in invoices],
        labels=["[]", "[]", _json([label])],
        comments=["[]", "[]", "[]", _json([comment])],
        triggers=[_json({"source": "api", "runner": runner}) for runner in runners]
        + [_json({"source": "schedule", "schedule": {"id": seeded_uuid(rng), "cronExpression": "0 7 * * 1-5"}})],
        outcomes=[_json(words) for words in fiction.OUTCOMES],
        turns=[_json(f"{speaker}: {words}\n")[1:-1] for _ in range(4) for speaker, words in fiction.talk(rng)],
    )


def _words(facts: _Facts, rng: Random) -> str:
    """Return some talk as a JSON string; one row in a hundred has a lot of it."""
    turns = _stock().turns
    count = rng.randrange(_LONG_TURNS) if rng.random() < _LONG else 1 + facts.number % 4
    return f'"{"".join(rng.choices(turns, k=count))}"'


def _word(usual: str, facts: _Facts) -> str:
    """Return the usual word; now and then, of what has ended, one that nobody knows."""
    return "wrapped_up" if facts.ended and facts.chance > 1 - _NEW_WORDS else usual


def _whole(number: int, facts: _Facts) -> str:
    """Return a whole number; on some days not all are."""
    return f"{number}.5" if facts.is_drifting and facts.number % _DRIFTING_ROWS == 0 else str(number)


def _new_field(facts: _Facts, rng: Random) -> Iterator[str]:
    if facts.chance > 1 - _NEW_FIELDS:
        yield f'"reviewState":{{"state":"open","score":{rng.randrange(100) / 10},"by":null}}'


def _pick(stock: Sequence[str], rng: Random) -> str:
    return stock[int(rng.random() * len(stock))]


def _json(value: Any) -> str:  # noqa: ANN401 -- whatever JSON can say
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _uuid(rng: Random) -> str:
    """Return an id that looks like a UUID; ten times as fast as making one."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _text(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
