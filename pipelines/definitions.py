"""The Dagster definitions of this environment: where Dagster looks (``workspace.yaml``, ``[tool.dg]``)."""

from __future__ import annotations

from pipelines.assembly import build_definitions
from resources.settings import load_settings

defs = build_definitions(load_settings())
