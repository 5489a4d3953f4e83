"""Measured figures, their limits, and where they are written down."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_GIB = 1024**3
_PACKAGES = ("dagster", "duckdb", "pyarrow", "msgspec")
START, END = "<!-- lake: written by `make bench-lake` -->", "<!-- /lake -->"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure.

    Attributes:
        group: what it belongs to.
        what: was measured, in words.
        value: the figure; None where it could not be measured.
        unit: of value and limit.
        limit: that it has to keep; None where there is none.
        at_least: whether the limit is a lower one.
        note: what a reader should know of how it was measured.
    """

    group: str
    what: str
    value: float | None
    unit: str = ""
    limit: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the limit is kept; None where there is no limit, or no figure."""
        if self.limit is None or self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def told(self) -> tuple[str, str, str]:
        """Figure, limit and verdict in words."""
        value = "not measured" if self.value is None else f"{_figure(self.value)} {self.unit}".strip()
        limit = "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {_figure(self.limit)} {self.unit}".strip()
        verdict = {True: "pass", False: "FAIL", None: ""}[self.passed]
        return value, limit, verdict

    def __str__(self) -> str:
        value, limit, verdict = self.told
        note = f" ({self.note})" if self.note else ""
        return f"{verdict or '-':4} {self.group}: {self.what}{note}: {value}{f', limit {limit}' if limit else ''}"


def interleaved(rounds: int, works: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the seconds of each work in each round; they take turns, and the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            taken = timed(work)
            if number:
                seconds[name].append(taken)
    return seconds


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def milliseconds(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(seconds) * 1000


def machine(root: Path) -> dict[str, Any]:
    """Say on what it was measured."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1),
        "file_system": file_system(root),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the kind of the file system below ``folder``; ``unknown`` where the system does not say."""
    if not mounts.exists():
        return "unknown"
    fields = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    below = [(place, kind) for _, place, kind, *_ in fields if folder.resolve().is_relative_to(place)]
    return max(below, key=lambda each: len(each[0]))[1] if below else "unknown"


def table(lines: Sequence[Line], facts: Mapping[str, Any], size: str) -> str:
    """Return the figures as Markdown."""
    versions = ", ".join(f"{name} {facts[name]}" for name in _PACKAGES)
    where = f"{facts['cores']} cores, {facts['memory_gib']} GiB, {facts['file_system']}, {facts['system']}"
    text = [f"{size} {where}; Python {facts['python']}, {versions}. Medians; works that are compared took turns.", ""]
    text += ["| | measured | limit | |", "|---|---|---|---|"]
    for line in lines:
        value, limit, verdict = line.told
        note = f" ({line.note})" if line.note else ""
        text.append(f"| {line.group}: {line.what}{note} | {value} | {limit} | {verdict} |")
    return "\n".join(text)


def write_page(page: Path, text: str) -> None:
    """Put ``text`` between the marks of a page.

    Raises:
        ValueError: the page has no such marks.
    """
    before, start, rest = page.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        msg = f"{page.name} has no {START} ... {END}"
        raise ValueError(msg)
    page.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def write_json(path: Path, lines: Sequence[Line], facts: Mapping[str, Any], size: str) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(line) | {"passed": line.passed} for line in lines]
    path.write_text(json.dumps({"size": size, "machine": facts, "lines": rows}, indent=2) + "\n", encoding="utf-8")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"  # noqa: PLR2004 -- three digits
