"""What DuckDB says of a catalog or a lake that it cannot read, with what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from assets.catalog.filesystem import ROOT
from resources.redaction import redact

_LAKE_FILE = re.compile(rf"(?:{re.escape(ROOT)}/|cannot open )(lake/[^'\"\s]+?\.parquet)")
_EXECUTIONS = "lake/executions/"


def explained(error: duckdb.Error, catalog: Path | None = None) -> str:
    """Return the text of an error, redacted.

    Args:
        error: of a connection on which the lake is mounted.
        catalog: the file of the catalog, where it was being read.

    Returns:
        DuckDB's words; where a file of the lake or the catalog itself is missing or damaged, with the remedy.
    """
    text = redact(_words(str(error)))
    is_about_files = isinstance(error, (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException)) or (
        str(error).startswith("Traceback")
    )
    file = _LAKE_FILE.search(text)
    if is_about_files and file is not None:
        return f"{text.rstrip('.')}. {_remedy(file.group(1))}"
    if is_about_files and catalog is not None and str(catalog) in text:
        return (
            f"{text.rstrip('.')}. The catalog {catalog.name} is damaged, and holds nothing that the lake does not: "
            "`recording-archive compact` publishes it anew"
        )
    return text


def _remedy(path: str) -> str:
    remedy = (
        "A publication may just have replaced it: ask again. If it stays so, put the file back from a copy, or move it away if "
        "it is damaged, and run `recording-archive rebuild`"
    )
    if path.startswith(_EXECUTIONS):
        return f"{remedy}; then read that day again (`recording-archive run PROVIDER --date DAY`), while the platform has it"
    return remedy


def _words(text: str) -> str:
    """Return DuckDB's words; of an error of our filesystem, which it tells with all that led to it, the error alone."""
    if not text.startswith("Traceback"):
        return text
    return text.partition("\n\nLINE")[0].splitlines()[-1].partition(": ")[2]
