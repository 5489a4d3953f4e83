"""What the documents name exists, and what exists is documented."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from assets.catalog.build import provider_table
from assets.catalog.columns import SHARED_TABLES
from assets.catalog.publication import publish
from assets.executions.intake import Row
from assets.executions.lake import write_partition
from assets.recordings.lifecycle import State
from pipelines.cli import cli
from resources.providers.registry import PROVIDERS
from resources.settings import Settings
from resources.storage import open_storage
from tests.catalog.lakes import FIRST, NOW, append, day, event

PROJECT = Path(__file__).parents[1]
DOCUMENTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)


def test_every_setting_has_a_line_in_the_example() -> None:
    """``.env.example`` names every setting, and no other."""
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, flags=re.MULTILINE))
    assert named == {name.upper() for name in Settings.model_fields}


def test_the_defaults_in_the_example_are_the_defaults() -> None:
    """A commented line shows what happens without it."""
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    defaults = Settings.model_construct()
    for name, value in re.findall(r"^#([A-Z][A-Z0-9_]+)=(.+)$", example, flags=re.MULTILINE):
        default = getattr(defaults, name.lower())
        if isinstance(default, bool):
            assert value == str(default).lower()
        elif isinstance(default, int | float):
            assert float(value) == default, name
        else:
            assert value == default, name


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_is_documented_with_its_options(name: str) -> None:
    """The operators' page has each command and each of its options."""
    page = (PROJECT / "docs" / "operators.md").read_text(encoding="utf-8")
    assert f"recording-archive {name}" in page
    for parameter in cli.commands[name].params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert f"`{option}" in page, option


def test_every_command_in_the_documents_exists() -> None:
    """No page names a command or a make target that is not there."""
    commands = set(re.findall(r"recording-archive ([a-z]+)\b", TEXT)) - {"is"}
    assert commands <= set(cli.commands), commands - set(cli.commands)
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", TEXT)) | set(re.findall(r"^ +make ([a-z-]+)", TEXT, flags=re.MULTILINE))
    assert named <= targets


def test_every_column_is_on_the_analysts_page() -> None:
    """The analysts' page lists each table and each column that all providers share."""
    page = (PROJECT / "docs" / "analysts.md").read_text(encoding="utf-8")
    for table in SHARED_TABLES:
        assert f"`{table.name}`" in page
        for column in table.columns:
            assert f"`{column}`" in page, f"{table.name}.{column}"
    for spec in PROVIDERS.values():
        assert f"`{spec.view}`" in page
        assert provider_table(spec).columns


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link is a file of the project."""
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


EXAMPLES = re.findall(r"```sql\n(.*?)```", (PROJECT / "docs" / "analysts.md").read_text(encoding="utf-8"), flags=re.DOTALL)
LITTLE_PAST_MIDNIGHT = datetime(2026, 11, 1, 0, 30, tzinfo=UTC)


@pytest.fixture
def analyst(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a catalog opened in New York, with one call that the platform moved to another day after it was archived."""
    storage = open_storage(str(tmp_path))
    for number in range(2):
        raw = '{"id": "moved", "callEndedReason": "WARM_TRANSFER", "callDuration": 60}'
        write_partition(storage, PROVIDERS["feather"], day(number), [Row("moved", LITTLE_PAST_MIDNIGHT, raw, NOW, NOW)])
        append(storage, [event("feather", "moved", State.ARCHIVED, on=day(number))])
    publish(storage, PROVIDERS.values(), NOW)
    with duckdb.connect(str(tmp_path / "archive.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        yield connection


def test_the_analysts_examples_work(analyst: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Every statement of the page can be asked as it stands there."""
    assert len(EXAMPLES) >= 4
    for example in EXAMPLES:
        analyst.execute(example.replace("/mnt/archive", str(tmp_path)))


def test_the_zone_of_the_page_makes_days_agree(analyst: duckdb.DuckDBPyConnection) -> None:
    """A client elsewhere cuts days by its own clock, until it says what the page tells it to."""
    sql = f"SELECT created_at::DATE FROM executions WHERE date = '{FIRST}'"  # noqa: S608 -- ours
    assert analyst.execute(sql).fetchall() == [(date(2026, 10, 31),)]
    (zone,) = [example for example in EXAMPLES if "TimeZone" in example]
    analyst.execute(zone)
    assert analyst.execute(sql).fetchall() == [(FIRST,)]


def test_the_join_of_the_page_counts_a_moved_execution_once_a_day(analyst: duckdb.DuckDBPyConnection) -> None:
    """By provider and id alone its two executions and two recordings would be four rows, as the page says."""
    (joins,) = [found for example in EXAMPLES if (found := re.findall(r"JOIN recordings (USING \(.*?\))", example))]
    for using, rows in ((joins[0], 2), ("USING (provider, execution_id)", 4)):
        sql = f"SELECT count(*) FROM feather_calls JOIN recordings {using}"  # noqa: S608 -- ours
        assert analyst.execute(sql).fetchone() == (rows,)
