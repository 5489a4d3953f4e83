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
_YOUNG = timedelta(days=4)
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
    new_id = seeded_ulid if unit.provider == "kataven" else lambda rng, _moment: _uuid(rng)
    prefix = "agent_" if unit.provider == "kataven" else ""
    midnight = datetime(unit.day.year, unit.day.month, unit.day.day, tzinfo=UTC)
    is_young, is_drifting = LAST_DAY - unit.day < _YOUNG, unit.day.toordinal() % _DRIFTING_DAYS == 0
    for place, moment in enumerate(sorted(rng.randrange(_DAY_MILLISECONDS) for _ in range(unit.executions))):
        number = unit.first + place
        script = script_of(number, may_run=unit.provider != "kataven", is_young=is_young)
        created_at = midnight + timedelta(milliseconds=moment)
        seconds = int(rng.lognormvariate(4.2, 0.8) * 10 + 30) / 10
        ended_at = None if script == RUNNING else created_at + timedelta(seconds=seconds)
        facts = _Facts(
            prefix + new_id(rng, created_at),
            number,
            script,
            _text(created_at),
            _text(ended_at) if ended_at else "",
            seconds,
            rng.random(),
            is_drifting,
        )
        row = Row(facts.id, created_at, write(facts, rng), created_at + FIRST_READ, NOW)
        legs = (Leg.MAIN, Leg.SUPERVISOR) if unit.provider == "feather" and _is_supervised(facts) else (Leg.MAIN,)
        yield Run(row, legs, script, ended_at, seconds if ended_at else None, number)


def _is_supervised(facts: _Facts) -> bool:
    return facts.chance < _SUPERVISED and facts.script not in (RUNNING, ABSENT)


def _asteroid(facts: _Facts, rng: Random) -> str:
    stock, key = _stock(), facts.number
    name, workflow, version = stock.agents[key % len(stock.agents)]
    ended = (
        f'"terminalAt":"{facts.ended}","duration":{facts.seconds},"executionResult":{{"id":"{_uuid(rng)}","executionId":"{facts.id}",'
        f'"outcome":"success","reasoning":{_words(facts, rng)},"result":{_pick(stock.results, rng)},"createdAt":"{facts.ended}"}},'
        f'"recordingUrl":"https://media.example.com/asteroid/{facts.id}/main.mp4",'
    )
    number = "3.5" if facts.is_drifting and key % 7 == 0 else str(3 + key % 5)
    purged = f'"purgedAt":"{facts.ended}",' if facts.script == PURGED else ""
    status = ("completed", "completed", "completed", "failed", "cancelled")[key % 5] if facts.ended else "running"
    return (
        f'{{"id":"{facts.id}","agentId":"{workflow}","agentName":"{name}","workflowId":"{workflow}","workflowVersionId":"{version}",'
        f'"workflowVersion":{number},"workflowName":"{name}","status":"{_word(status, facts)}","createdAt":"{facts.created}",'
        f'"startedAt":"{facts.created}","organizationId":"{_ORGANIZATION}","profileId":"{_uuid(rng)}",'
        f'"platformUrl":"https://platform.example.com/executions/{facts.id}",'
        f'{ended if facts.ended else ""}{purged}"humanLabels":{_pick(stock.labels, rng)},"comments":{_pick(stock.comments, rng)},'
        f'"executionOptions":{{"sharedStorageKey":"customer-{rng.randrange(1000)}","softTimeoutMins":20}},'
        f'"inputs":{_pick(stock.inputs, rng)},"metadata":{{"batch":"{facts.created[:10]}-{key % 9}","source":"crm"}},'
        f'"triggerContext":{_pick(stock.triggers, rng)}{_new_field(facts, rng)},"hasBeenRerun":false}}'
    )


def _feather(facts: _Facts, rng: Random) -> str:
    stock, key = _stock(), facts.number
    name, agent, version = stock.agents[key % len(stock.agents)]
    first, last = fiction.FIRST_NAMES[key % len(fiction.FIRST_NAMES)], fiction.LAST_NAMES[key % len(fiction.LAST_NAMES)]
    number = fiction.phone_number(rng)
    reason = "WARM_TRANSFER" if _is_supervised(facts) else "NO_ANSWER" if facts.script == ABSENT else "ENDED"
    ended = (
        f'"callEndedReason":"{reason}","callEndedBy":"AGENT","callEndedAt":"{facts.ended}","callDuration":{facts.seconds},'
        f'"recordingUrl":"https://media.example.com/feather/{facts.id}/main.mp3","transcript":{_words(facts, rng)},'
        f'"summary":{_pick(stock.outcomes, rng)},"structuredPostCallAnalysis":{{"sentiment":"neutral","score":{rng.randrange(1000) / 1000}'
        f',"topics":["scheduling","price"],"followUp":{{"needed":false,"at":null}}}},'
    )
    tries = "1.5" if facts.is_drifting and key % 7 == 0 else str(1 + key % 4)
    return (
        f'{{"id":"{facts.id}","organizationId":"{_ORGANIZATION}","createdAt":"{facts.created}","updatedAt":"{facts.ended or facts.created}",'
        f'"agentId":"{agent}","agentDetails":{{"name":"{name}","language":"en-US","voice":{{"id":"riley","speed":1.05}}}},'
        f'"agentVersionId":"{version}","agentVersionDetails":{{"version":4,"model":"voice-2"}},"mode":"AUDIO","outbound":true,'
        f'"fromPhoneNumber":"+15125550129","toPhoneNumber":"{number}",'
        f'"customer":{{"phoneNumber":"{number}","firstName":"{first}","lastName":"{last}"}},"leadId":"{_uuid(rng)}",'
        f'"callStartedAt":"{facts.created}",{ended if facts.ended else ""}"variables":{{"firstName":"{first}","attempt":{tries}}},'
        f'"status":"{_word("COMPLETED" if facts.ended else "IN_PROGRESS", facts)}","leadState":{{"state":"CONTACTED","tries":{tries}}}'
        f'{_new_field(facts, rng)},"workflowId":{"null" if key % 2 else json.dumps(agent)}}}'
    )


def _kataven(facts: _Facts, rng: Random) -> str:
    stock, key = _stock(), facts.number
    attempt = '"first"' if facts.is_drifting and key % 7 == 0 else str(1 + key % 3)
    return (
        f'{{"session_id":"{facts.id}","started_at":"{facts.created}","ended_at":"{facts.ended}","status":"{_word("ended", facts)}",'
        f'"duration_seconds":{facts.seconds},"campaign_id":"cmp_{fiction.CAMPAIGNS[key % len(fiction.CAMPAIGNS)]}",'
        f'"phone_number":"{fiction.phone_number(rng)}","direction":"{"inbound" if key % 5 == 0 else "outbound"}","agent":"riley",'
        f'"contact":"{_uuid(rng)}","attempt":{attempt},"cost":{rng.randrange(20_000) / 10_000},"notes":{_words(facts, rng)},'
        f'"app":{_pick(stock.inputs, rng)}{_new_field(facts, rng)}}}'
    )


_WRITERS: dict[str, Callable[[_Facts, Random], str]] = {"asteroid": _asteroid, "feather": _feather, "kataven": _kataven}


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


def _new_field(facts: _Facts, rng: Random) -> str:
    is_new = facts.chance > 1 - _NEW_FIELDS
    return f',"reviewState":{{"state":"open","score":{rng.randrange(100) / 10},"by":null}}' if is_new else ""


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
