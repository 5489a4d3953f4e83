"""The figures of a lake: how they are judged, written down, and measured at all."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmarks.generate import Plan, generate
from benchmarks.lake import __main__ as lake_command
from benchmarks.lake.__main__ import ingest_lines
from benchmarks.lake.automation import DUE, many_due
from benchmarks.lake.commits import EVENTS, four_writers, hundred, one_writer
from benchmarks.lake.copies import linked
from benchmarks.lake.questions import TAIL_FILES, append_tail, due
from benchmarks.lake.report import END, START, Line, file_system, interleaved, machine, table, write_json, write_page
from benchmarks.world.plan import NOW
from resources.storage import open_storage
from tests.benchmarks.test_generate import SMALL


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small lake. Do not change it."""
    folder = tmp_path_factory.mktemp("small") / "lake"
    list(generate(folder, Plan(SMALL.executions, SMALL.days, SMALL.seed)))
    return folder


def contents(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of each file below a folder."""
    found = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "passed"),
    [
        (3.0, 3.0, False, True),
        (3.01, 3.0, False, False),
        (200.0, 200.0, True, True),
        (199.0, 200.0, True, False),
        (1.0, None, False, None),
        (None, 3.0, False, None),
    ],
)
def test_a_figure_is_judged_by_its_limit(value: float | None, limit: float | None, at_least: bool, passed: bool | None) -> None:
    """A limit itself is kept; what was not measured is neither good nor bad."""
    line = Line("commits", "one", value, "ms", limit, at_least=at_least)
    assert line.passed is passed
    assert ("FAIL" in str(line)) == (passed is False)
    assert ("pass" in str(line)) == (passed is True)


def test_the_figures_are_written_between_the_marks(tmp_path: Path) -> None:
    """The rest of the page stays; writing again replaces what was written."""
    page, facts = tmp_path / "page.md", machine(tmp_path)
    page.write_text(f"# Before\n\n{START}\n\nold\n\n{END}\n\n## After\n")
    lines = [Line("commits", "median", 2.5, "ms", 3.0), Line("questions", "due", 25.0, "ms", 20.0, note="all")]
    for size in ("Ten.", "Eleven."):
        write_page(page, table(lines, facts, size))
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("## After\n")
    assert "old" not in text
    assert "Ten." not in text
    assert "| commits: median | 2.50 ms | ≤ 3 ms | pass |" in text
    assert "| questions: due (all) | 25 ms | ≤ 20 ms | FAIL |" in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written into a page that has no place for it."""
    page = tmp_path / "page.md"
    page.write_text("# Another\n")
    with pytest.raises(ValueError, match=r"page\.md has no"):
        write_page(page, "text")
    assert page.read_text() == "# Another\n"


def test_the_figures_are_json_too(tmp_path: Path) -> None:
    """Each line is there with its verdict, and the machine with it."""
    path = tmp_path / "results" / "lake.json"
    write_json(path, [Line("commits", "median", 2.5, "ms", 3.0)], machine(tmp_path), "Ten.")
    found = json.loads(path.read_text())
    assert found["size"] == "Ten."
    assert found["lines"][0]["passed"] is True
    assert found["machine"]["cores"] >= 1


def test_the_file_system_is_the_nearest_mount(tmp_path: Path) -> None:
    """Of nested mounts the inner one counts."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"dev / ext4 rw 0 0\ndev {tmp_path} xfs rw 0 0\ndev /elsewhere nfs rw 0 0\n")
    assert file_system(tmp_path / "root", mounts) == "xfs"
    assert file_system(tmp_path, tmp_path / "missing") == "unknown"


def test_works_take_turns_and_the_first_round_does_not_count() -> None:
    """A slow start of one is nobody's figure."""
    done: list[str] = []
    seconds = interleaved(2, {"one": lambda: done.append("one"), "two": lambda: done.append("two")})
    assert done == ["one", "two"] * 3
    assert {name: len(each) for name, each in seconds.items()} == {"one": 2, "two": 2}


def test_a_lake_is_measured_without_being_changed(root: Path, tmp_path: Path) -> None:
    """What is appended to a copy is asked for there, and is not in the lake."""
    before = contents(root)
    with linked(root, tmp_path / "copy") as copy:
        storage = open_storage(str(copy))
        known = due(storage)
        append_tail(storage)
        assert due(storage) == known + TAIL_FILES * EVENTS
    assert not (tmp_path / "copy").exists()
    assert contents(root) == before


def test_the_sensors_are_asked_with_ten_thousand_due(root: Path, tmp_path: Path) -> None:
    """They ask for few runs, and for no partition in which nothing is due."""
    lines = {line.what: line for line in many_due(root, tmp_path, 1)}
    runs = lines["runs asked for"]
    assert runs.passed
    assert runs.value
    assert lines["partitions in them with nothing due"].passed
    assert any(f"{DUE:,} due" in what for what in lines)


def test_a_commit_has_a_hundred_events(tmp_path: Path) -> None:
    """One writer is timed beside the disk alone."""
    assert len(hundred(NOW, "run")) == EVENTS
    lines = one_writer(tmp_path, 3)
    assert [line.unit for line in lines] == ["ms", "ms", "ms"]
    assert all(line.value is not None and line.value > 0 for line in lines)


def test_four_processes_write_beside_a_reader(tmp_path: Path) -> None:
    """All are up before the clock starts, so that there is something to lose; nothing is lost."""
    speed, errors, lost = four_writers(tmp_path, 1, seconds=0.5)
    assert speed.value
    assert errors.passed, errors.note
    assert lost.passed


def test_ingest_is_left_out_where_its_peer_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dlt there is no figure, and no failure."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    (line,) = ingest_lines(1)
    assert line.value is None
    assert line.passed is None
    assert "dlt" in str(line)


def test_ingest_is_judged_beside_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows a second and their multiple have limits of their own."""
    found = {
        "rows_per_cpu_second": {"ours": 30_000, "dlt": 5_000},
        "ratio": 6.0,
        "cells_compared": 1_000,
        "versions": {"dlt": "1"},
    }
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    monkeypatch.setattr("importlib.import_module", lambda _name: SimpleNamespace(measure=lambda _rounds: found))
    assert [(line.value, line.passed) for line in ingest_lines(1)] == [(30_000, True), (6.0, False)]


@pytest.mark.parametrize(
    ("arguments", "writes"),
    [
        ([], True),
        (["--no-write"], False),
        (["--only", "commits"], False),
        (["--executions", "20000", "--days", "60"], False),
        (["--days", "60"], False),
        (["--executions", "20000", "--write"], True),
    ],
)
def test_only_a_lake_of_the_standard_size_is_written_down(
    arguments: list[str], writes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial prints its figures, and says that the page was left alone; ``--write`` writes it nevertheless."""
    page, results = tmp_path / "page.md", tmp_path / "lake.json"
    page.write_text(f"{START}\n\nthe standard lake\n\n{END}")
    monkeypatch.setattr(lake_command, "_PAGE", page)
    monkeypatch.setattr(lake_command, "_RESULTS", results)
    monkeypatch.setattr(lake_command, "generate", lambda *_, **__: ())
    found = SimpleNamespace(executions=1, events=2, open_recordings=3)
    monkeypatch.setattr(lake_command, "describe", lambda _: found)
    monkeypatch.setattr(lake_command, "_works", lambda *_: {"commits": lambda: [Line("commits", "median", 2.5, "ms", 3.0)]})
    done = CliRunner().invoke(lake_command.main, ["--root", str(tmp_path / "lake"), *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    assert "median" in done.stdout
    assert results.exists() == ("the standard lake" not in page.read_text()) == writes
    is_trial = "--days" in arguments or "--executions" in arguments
    assert ("page.md was left alone" in done.stdout) == (is_trial and not writes)
