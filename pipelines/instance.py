"""Dagster's own home: where its history lies, for the command line and ``make ui``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dagster as dg

from pipelines.in_flight import UNFINISHED

DEFAULT_HOME = Path(".dagster")
PROJECT = Path(__file__).resolve().parents[1]
HOME_VARIABLE = "DAGSTER_HOME"


def dagster_home(chosen: Path | None = None) -> Path:
    """Return the home to use: ``chosen``, else ``DAGSTER_HOME``, else ``.dagster`` in the current folder.

    It is made if need be, and gets the project's ``dagster.yaml`` unless it has one of its own.
    """
    home = (chosen or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)).resolve()
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        shutil.copyfile(PROJECT / "dagster.yaml", settings)
    return home


def open_instance(home: Path) -> dg.DagsterInstance:
    """Return the persistent Dagster instance of ``home``."""
    os.environ[HOME_VARIABLE] = str(home)
    return dg.DagsterInstance.from_config(str(home))


def end_all_runs(instance: dg.DagsterInstance) -> int:
    """Mark all unfinished runs as failed, and return how many. Only for a home that nothing else uses (the demo's)."""
    dead = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
    for run in dead:
        instance.report_run_failed(run, "its process ended before it did")
    return len(dead)
