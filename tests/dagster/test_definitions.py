"""The definitions load cleanly, are thin, and are all made from the registry of providers."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance

from assets.recordings.asset import MISMATCHES_SHOWN, verdict_on_lengths
from assets.recordings.report import DayReport, Mismatch
from pipelines.assembly import build_definitions
from resources.clock import utc_now
from resources.dagster_archive import ArchiveResource
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from tests.dagster.dev import BIN, PROJECT, new_home, plain_environment, write_env_file

LONGEST_SHELL = 40
SHELLS = [*sorted(PROJECT.glob("assets/*/*asset.py")), PROJECT / "pipelines/schedules.py", PROJECT / "pipelines/sensors.py"]
KINDS = {"asset", "schedule", "sensor"}

# Dagster says this of its own command; everything else is ours.
NOT_OURS = re.compile(r"Function `\w+` is superseded")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["dagster", "definitions", "validate", "-w", "workspace.yaml"], ["dg", "check", "defs"]],
    ids=["dagster", "dg"],
)
def test_dagster_finds_nothing_to_say(command: list[str], tmp_path: Path) -> None:
    """Both of Dagster's own checks pass without an error and without a warning."""
    quiet = {"DAGSTER_HOME": str(new_home(tmp_path / "home")), "DAGSTER_DG_UPDATE_CHECK_ENABLED": "0"}
    environment = {**plain_environment(), **quiet, "VIRTUAL_ENV": sys.prefix, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(  # noqa: S603  # our own command
        [BIN / command[0], *command[1:]], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert [
        line for line in said.splitlines() if re.search("error|warning", line, re.IGNORECASE) and not NOT_OURS.search(line)
    ] == []


def test_a_new_provider_gets_all_its_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more line in the registry makes a lane: assets in a pool and a group, jobs, schedules and a sensor."""
    monkeypatch.setitem(PROVIDERS, "acme", replace(PROVIDERS["feather"], name="acme", title="Acme"))
    definitions = build_definitions(load_settings(None))
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    lanes = {dg.AssetKey([name, kind]): name for name in PROVIDERS for kind in ("executions", "recordings", "fixity")}
    assert "acme" in lanes.values()
    nodes = {node.key: node for node in repository.asset_graph.asset_nodes}
    assert nodes.keys() == {*lanes, dg.AssetKey("catalog"), dg.AssetKey("compaction")}
    assert {key: node.pools for key, node in nodes.items()} == {
        **{key: {f"{name}_fixity" if key.path[-1] == "fixity" else name} for key, name in lanes.items()},
        dg.AssetKey("catalog"): {"catalog"},
        dg.AssetKey("compaction"): {"catalog"},
    }
    assert {key: node.group_name for key, node in nodes.items() if key in lanes} == lanes
    assert nodes[dg.AssetKey("catalog")].parent_keys == lanes.keys()
    jobs = {f"{name}_{kind}" for name in PROVIDERS for kind in ("archive", "retry", "fixity")}
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == {
        *jobs,
        "catalog_publish",
        "lake_compact",
    }
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "lake_compaction",
        *(f"{name}_{kind}" for name in PROVIDERS for kind in ("hourly", "fixity_daily")),
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {f"{name}_retry_sensor" for name in PROVIDERS} | {
        "catalog_sensor"
    }


def test_every_partitioned_asset_takes_a_range_as_one_run() -> None:
    """A year's backfill is one run, and it ends in this process, also when somebody launches the assets by hand."""
    definitions = build_definitions(load_settings(None))
    for node in definitions.get_repository_def().asset_graph.asset_nodes:
        assert not node.is_partitioned or node.backfill_policy == dg.BackfillPolicy.single_run()
    for job in definitions.get_repository_def().get_all_jobs():
        assert job.executor_def is dg.in_process_executor, job.name


def test_pools_let_one_run_in(tmp_path: Path) -> None:
    """The project's dagster.yaml limits every pool to one, and counts runs."""
    with DagsterInstance.from_config(str(new_home(tmp_path / "home"))) as instance:
        pools = instance.get_concurrency_config().pool_config
    assert pools.default_pool_limit == 1
    assert pools.pool_granularity is not None
    assert pools.pool_granularity.value == "run"


def test_the_dagster_shells_are_thin() -> None:
    """The function of an asset, a schedule or a sensor fits a screen; what it does is plain Python elsewhere."""
    found = {
        f"{path.parent.name}/{path.name}:{node.name}": (kind, _lines(node))
        for path in SHELLS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (kind := _kind(node))
    }
    assert {kind for kind, _ in found.values()} == KINDS
    assert len(found) == 9
    assert {name: lines for name, (_, lines) in found.items() if lines > LONGEST_SHELL} == {}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_a_key_schedule_and_sensor_say_which(provider: str, tmp_path: Path) -> None:
    """A provider that is off is skipped with the name of the variable that would switch it on."""
    env_file = write_env_file(tmp_path / "settings.env", {"ARCHIVE_ROOT": str(tmp_path / "archive")})
    repository = build_definitions(load_settings(None)).get_repository_def()
    resources = {"archive": ArchiveResource(env_file=env_file)}
    words = f"{provider} is off: {PROVIDERS[provider].key_setting} is not set"
    with DagsterInstance.ephemeral() as instance:
        with dg.build_sensor_context(instance, repository_def=repository, resources=resources) as context:
            assert repository.get_sensor_def(f"{provider}_retry_sensor").evaluate_tick(context).skip_message == words
        with dg.build_schedule_context(instance, utc_now(), repository_def=repository, resources=resources) as context:
            assert repository.get_schedule_def(f"{provider}_hourly").evaluate_tick(context).skip_message == words


def _kind(function: ast.FunctionDef) -> str | None:
    for decorator in function.decorator_list:
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(name, ast.Attribute) and name.attr in KINDS:
            return name.attr
    return None


def _lines(function: ast.FunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_every_asset_says_of_what_kind_it_is() -> None:
    """In the UI each asset carries a mark of what it makes."""
    graph = build_definitions(load_settings(None)).get_repository_def().asset_graph
    assert [node.key for node in graph.asset_nodes if not node.kinds] == []


def test_a_path_is_never_markdown_in_the_ui() -> None:
    """Ids may hold what Markdown reads, also in their paths: the copies that the check names stand in a block of code."""
    path = "recordings/provider=feather/date=2026-11-20/__a__`_www.evil.example_```/main.mp4"
    report = DayReport("feather", date(2026, 11, 20))
    report.mismatches += [Mismatch("a", "main", 1.0, 2.0, path)] * (MISMATCHES_SHOWN + 1)
    shown = str(verdict_on_lengths([report]).metadata["mismatches"].value)
    first, *lines, last = shown.split("\n")
    assert (first, last) == ("```", "```")
    assert len(lines) == MISMATCHES_SHOWN
    assert not any("```" in line for line in lines)
