"""What an operator can get wrong: one clear message, an exit code, no traceback, and nothing lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.options import WorldOptions
from sandbox.server import Sandbox
from tests.end_to_end.command import Ended, Operator
from tests.end_to_end.conftest import all_days, new_operator
from tests.end_to_end.truth import assert_right, media_files

pytestmark = pytest.mark.slow

FAILED, SETTINGS, PERSON = 1, 2, 3
NOWHERE = "http://127.0.0.1:1/v1"
"""A port on which nothing listens."""
NO_KEYS = {"ASTEROID_API_KEY": None, "FEATHER_API_KEY": None, "KATAVEN_API_KEY": None}


@pytest.fixture(scope="module")
def world() -> WorldOptions:
    """Four recordings of each provider on one day, all ready."""
    return WorldOptions(recordings=12, megabytes=1, days=1, calm=True)


def assert_clear(ended: Ended, code: int, *words: str) -> None:
    """Assert the exit code, that stderr holds ``words``, and that no line of it is a traceback."""
    assert ended.code == code, ended.text
    assert "Traceback" not in ended.text
    for word in words:
        assert word in ended.err, ended.err


def assert_nothing_lost(operator: Operator, sandbox: Sandbox, provider: str) -> None:
    """Assert that a good run after the bad one archives everything."""
    ended = operator.run("run", provider, *all_days(sandbox), "--json")
    assert ended.code == 0, ended.text
    rows: list[dict[str, Any]] = [row for row in sandbox.truth()["recordings"] if row["provider"] == provider]  # type: ignore[attr-defined]
    assert rows
    assert_right(operator.folder / "archive", rows)


def test_no_key_at_all(operator: Operator) -> None:
    """Without any key the message names all three settings and the file to put them in."""
    assert_clear(operator.run("run", **NO_KEYS), SETTINGS, "ASTEROID_API_KEY", "FEATHER_API_KEY", "KATAVEN_API_KEY", ".env")
    assert_clear(operator.run("run", "feather", FEATHER_API_KEY=None), SETTINGS, "feather is off", "FEATHER_API_KEY")
    assert not (operator.folder / "archive").exists()


@pytest.mark.parametrize(("provider", "code"), [("asteroid", FAILED), ("feather", FAILED), ("kataven", PERSON)])
def test_a_wrong_key(operator: Operator, sandbox: Sandbox, provider: str, code: int) -> None:
    """A key that the provider refuses is named by its setting, not by its value; the right one archives everything."""
    name = f"{provider.upper()}_API_KEY"
    ended = operator.run("run", provider, *all_days(sandbox), **{name: "sk_live_sandbox_wrong"})
    assert_clear(ended, code, "401", name)
    assert "sk_live_sandbox_wrong" not in ended.text
    assert len(ended.err.splitlines()) == 1
    assert_nothing_lost(operator, sandbox, provider)


@pytest.mark.parametrize("provider", ["asteroid", "feather", "kataven"])
def test_an_address_where_nobody_answers(operator: Operator, sandbox: Sandbox, provider: str) -> None:
    """A closed port is named with the setting that leads there, and the command fails; nothing known is lost."""
    name = f"{provider.upper()}_BASE_URL"
    ended = operator.run("run", provider, *all_days(sandbox), **{name: NOWHERE, "TRANSIENT_RETRIES": "0"})
    assert_clear(ended, FAILED, provider, "127.0.0.1:1", name)
    assert len(ended.err.splitlines()) == 1
    if provider == "kataven":  # whose recordings were known before anybody was asked; the others knew of none
        assert_nothing_lost(operator, sandbox, provider)


def test_a_root_that_cannot_be_written(operator: Operator, sandbox: Sandbox) -> None:
    """A file where the root should be is named with the remedy; once it is moved away everything is archived."""
    in_the_way = operator.folder / "archive"
    in_the_way.write_text("a file of somebody's")
    for root in ("./archive", "./archive/below"):
        ended = operator.run("run", "feather", *all_days(sandbox), ARCHIVE_ROOT=root)
        assert_clear(ended, FAILED, str(in_the_way), "a file, not a folder", "ARCHIVE_ROOT")
    doctor = operator.run("doctor", "--json")
    assert doctor.code == FAILED
    assert [check["name"] for check in doctor.json["checks"] if check["good"] is False] == ["storage: write an object"]
    assert in_the_way.read_text() == "a file of somebody's"
    in_the_way.unlink()
    assert_nothing_lost(operator, sandbox, "feather")


def test_an_inventory_that_is_missing(operator: Operator, sandbox: Sandbox) -> None:
    """A missing inventory is named with the setting, the place and the kinds of files; an unset one with the setting."""
    run = ("run", "kataven", *all_days(sandbox))
    missing = operator.run(*run, KATAVEN_SESSIONS="./not-there")
    assert_clear(missing, FAILED, "KATAVEN_SESSIONS", "not-there", ".csv")
    assert_clear(operator.run(*run, KATAVEN_SESSIONS=None), SETTINGS, "KATAVEN_SESSIONS is not set")
    assert_nothing_lost(operator, sandbox, "kataven")


def test_an_inventory_that_is_malformed(operator: Operator, sandbox: Sandbox) -> None:
    """Where nothing can be read the file is named; where one of many cannot, the rest is archived."""
    inventory = operator.folder / "inventory"
    inventory.mkdir()
    (inventory / "a.csv").write_text("name,when\n1,2\n")
    (inventory / "b.parquet").write_bytes(b"PAR1 not really")
    ended = operator.run("run", "kataven", *all_days(sandbox), KATAVEN_SESSIONS="./inventory")
    assert_clear(ended, FAILED, "KATAVEN_SESSIONS", "a.csv", "no column session_id")
    both = f"./inventory,{sandbox.inventory}"
    assert_nothing_lost(Operator(operator.folder, {**operator.env, "KATAVEN_SESSIONS": both}), sandbox, "kataven")


def test_ids_that_are_paths(operator: Operator, sandbox: Sandbox) -> None:
    """Hostile ids become harmless names or problems: outside the root nothing is written, and the good ones are archived."""
    day = sandbox.window["last"]
    hostile = ["../../x", "..", ".", "/etc/passwd", "a%2F..%2Fb", "a\\..\\b", "x" * 300, "con", "~", "a?b=c#d", "%2e%2e/secret"]
    lines = [
        json.dumps({"session_id": name, "started_at": f"{day}T00:00:01Z", "ended_at": f"{day}T00:00:02Z"}) for name in hostile
    ]
    inventory = operator.folder / "inventory"
    inventory.mkdir()
    (inventory / "hostile.jsonl").write_text("".join(f"{line}\n" for line in lines))
    around = sorted(operator.folder.parent.rglob("*"))
    both = f"{inventory},{sandbox.inventory}"
    ended = operator.run("run", "kataven", *all_days(sandbox), "--json", KATAVEN_SESSIONS=both)
    assert "Traceback" not in ended.text
    new = {path for path in operator.folder.parent.rglob("*") if path not in around}
    allowed = {operator.folder / "archive", operator.folder / ".dagster"}
    strangers = [path for path in new if not any(path == root or root in path.parents for root in allowed)]
    assert [path for path in strangers if "-private" not in str(path)] == []
    archive = operator.folder / "archive"
    assert all(path.resolve().is_relative_to(archive.resolve()) for path in archive.rglob("*"))
    good = [row for row in sandbox.truth()["recordings"] if row["provider"] == "kataven"]  # type: ignore[attr-defined]
    assert len(media_files(archive)) == len(good)
    told = operator.run("query", "SELECT execution_id FROM kataven_sessions", "--json").json["rows"]
    assert {*hostile} <= {row["execution_id"] for row in told}, "no row is lost, however odd its id"


def test_media_on_a_private_address(operator: Operator, sandbox: Sandbox) -> None:
    """Media from a private address is refused with the name of the setting; allowed, everything is archived."""
    hosts = {"MEDIA_ALLOW_PRIVATE": None, "MEDIA_ALLOWED_HOSTS": None}
    before = sum(row["media_gets"] for row in sandbox.requests()["recordings"])  # type: ignore[attr-defined]
    assert_clear(operator.run("run", "feather", *all_days(sandbox), **hosts), PERSON, "localhost", "MEDIA_ALLOW_PRIVATE")
    assert sum(row["media_gets"] for row in sandbox.requests()["recordings"]) == before  # type: ignore[attr-defined]
    status = operator.run("status")
    assert_clear(status, PERSON, "need a person")
    assert_nothing_lost(operator, sandbox, "feather")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RETRY_BASE_SECONDS", "abc", ["valid number", ".env"]),
        ("KATAVEN_ACCOUNT_ID", "UPPER!", ["must match"]),
        ("ARCHIVE_AUTOMATION", "perhaps", ["running", "stopped"]),
        ("ARCHIVE_ROOT", "simplecache::s3://bucket", ["chained"]),
        ("ARCHIVE_ROOT", "s3://", ["s3://bucket/prefix"]),
        ("ARCHIVE_ROOT", "nosuch://x", ["not known"]),
        ("FEATHER_API_KEY", "two\nlines", ["line break"]),
        ("FEATHER_BASE_URL", "not a url", ["https://api.example.com/v1"]),
        ("ARCHIVE_START_DATE", "nonsense", ["2026-01-01"]),
        ("ARCHIVE_SCHEDULE_CRON", "never", ["15 * * * *"]),
        ("ARCHIVE_GRACE_HOURS", "inf", ["less than or equal to 876000"]),
        ("ARCHIVE_GRACE_HOURS", "1e300", ["less than or equal to 876000"]),
        ("RETRY_DEADLINE_DAYS", "inf", ["less than or equal to 36500"]),
    ],
)
def test_a_wrong_setting(operator: Operator, name: str, value: str, words: list[str]) -> None:
    """A value that cannot be used is named with its setting and what is expected, in one line, by exit code 2."""
    ended = operator.run("run", "feather", "--json", **{name: value})
    assert_clear(ended, SETTINGS, name, *words)
    assert len(ended.err.splitlines()) == 1
    assert operator.run("--help", **{name: value}).code == 0


def test_one_wrong_provider_does_not_stop_the_others(operator: Operator, sandbox: Sandbox) -> None:
    """With one provider wrongly set the others are archived, the message names the setting, and the exit code is 2."""
    ended = operator.run("run", *all_days(sandbox), "--json", KATAVEN_RATE_LIMITS="x")
    assert_clear(ended, SETTINGS)
    assert ["KATAVEN_RATE_LIMITS" in text for text in ended.json["failures"]] == [True]
    assert {name: lane["archived"] for name, lane in ended.json["providers"].items()} == {"asteroid": 4, "feather": 4}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--date", "2999-01-01"), ["outside", "ARCHIVE_START_DATE"]),
        (("run", "--date", "2026-13-01"), ["not a day"]),
        (("run", "--from", "2026-11-03", "--to", "2026-11-01"), ["is after"]),
        (("run", "--date", "2026-11-03", "--from", "2026-11-01"), ["goes alone"]),
        (("run", "nobody"), ["'asteroid', 'feather', 'kataven'"]),
        (("query", " "), ["SELECT"]),
    ],
)
def test_wrong_arguments(operator: Operator, arguments: tuple[str, ...], words: list[str]) -> None:
    """Arguments that make no sense are answered with what would, and nothing is written."""
    assert_clear(operator.run(*arguments), SETTINGS, *words)
    assert not (operator.folder / "archive").exists()


@pytest.fixture(scope="module")
def archived(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Return an operator whose archive holds everything."""
    operator = new_operator(sandbox, tmp_path_factory.mktemp("archived") / "work")
    sandbox.clear_faults()
    before = operator.run("query", "SELECT 1")
    assert_clear(before, FAILED, "no catalog in", "recording-archive run", "recording-archive compact")
    assert operator.run("run", *all_days(sandbox)).code == 0
    return operator


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", ["Parser Error"]),
        ("SELECT * FROM nothing", ["does not exist", "recordings"]),
        ("CREATE TABLE mine (a INT)", ["read-only"]),
        ("DELETE FROM recordings", ["Can only delete from base table"]),
        ("DELETE FROM catalog_info", ["read-only"]),
        ("DROP TABLE recordings", ["read-only"]),
    ],
)
def test_sql_that_is_refused(archived: Operator, sql: str, words: list[str]) -> None:
    """Bad SQL and SQL that writes are refused in DuckDB's words, and the catalog stays as it was."""
    catalog = archived.folder / "archive" / "archive.duckdb"
    before = catalog.read_bytes()
    assert_clear(archived.run("query", sql), FAILED, "error: ", *words)
    assert catalog.read_bytes() == before


def _strict(text: str) -> Any:  # noqa: ANN401 -- JSON
    def refuse(word: str) -> None:
        pytest.fail(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        (("run", "--dry-run"), "providers"),
        (("status",), "providers"),
        (("verify",), "copies"),
        (("doctor",), "checks"),
        (("query", "SELECT *, 'nan'::DOUBLE AS odd, DATE '2026-01-01' AS day, [1, 2] AS list FROM recordings"), "rows"),
    ],
)
def test_json_is_json(archived: Operator, arguments: tuple[str, ...], holds: str) -> None:
    """With --json each command prints exactly one JSON document, by the letter of the standard."""
    ended = archived.run(*arguments, "--json")
    assert ended.code == 0, ended.text
    assert holds in _strict(ended.out)


def test_a_dead_world_is_json_too(archived: Operator) -> None:
    """With --json a doctor who finds nothing good still prints one document."""
    nowhere = dict.fromkeys(("ASTEROID_BASE_URL", "FEATHER_BASE_URL", "KATAVEN_BASE_URL"), NOWHERE)
    ended = archived.run("doctor", "--json", **nowhere, TRANSIENT_RETRIES="0")
    assert ended.code == FAILED
    assert len([check for check in _strict(ended.out)["checks"] if check["good"] is False]) >= 3
    assert "Traceback" not in ended.text
