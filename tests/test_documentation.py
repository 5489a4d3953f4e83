"""What the documents name exists, and what exists is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assets.catalog.build import provider_table
from assets.catalog.columns import SHARED_TABLES
from pipelines.cli import cli
from resources.providers.registry import PROVIDERS
from resources.settings import Settings

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
