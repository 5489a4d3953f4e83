"""The Dagster definitions of this environment: where Dagster looks (``workspace.yaml``, ``[tool.dg]``)."""

from __future__ import annotations

from pipelines.assembly import build_definitions
from resources.redaction import guard_process
from resources.settings import load_settings

guard_process()
defs = build_definitions(load_settings())
