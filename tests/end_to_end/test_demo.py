"""``recording-archive demo``: what `make demo` shows to somebody who looks at the project for the first time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from assets.catalog.sources import SEED
from tests.end_to_end.command import Ended
from tests.end_to_end.conftest import DEMO, Demo
from tests.end_to_end.truth import assert_right, media_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def again(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Run the demo a second time, on a copy of its folder."""
    operator = demo.copy(tmp_path_factory.mktemp("again") / "work")
    return operator.folder, operator.run(*DEMO, "--json")


def test_it_ends_well_and_says_what_it_did(demo: Demo) -> None:
    """Exit code 0, a table of states, a table of reasons, and where everything lies."""
    assert demo.ended.code == 0, demo.ended.text
    assert demo.ended.err == ""
    for words in (
        "What was found, and what became of it",
        "What was not archived, and why",
        "absent: no recording for this session",
        "purged",
        "demo/archive/archive.duckdb",
        "SELECT * FROM coverage",
        "Success: every recording ended as the sandbox says.",
    ):
        assert words in demo.ended.out


def test_the_archive_is_the_truth(demo: Demo, truth: list[dict[str, Any]]) -> None:
    """Every recording that can be archived is, with the bytes that the sandbox made; nothing else is stored."""
    assert_right(demo.root, truth)


def test_the_manifests_pass_sha256sum(demo: Demo) -> None:
    """The system's own tool verifies every manifest from the root, and the manifests cover every recording and event file."""
    tool = ["sha256sum", "-c"] if shutil.which("sha256sum") else ["shasum", "-a", "256", "-c"]
    manifests = sorted(path.relative_to(demo.root) for path in (demo.root / "manifests").rglob("*.txt"))
    checked = ""
    for manifest in manifests:
        done = subprocess.run(  # noqa: S603 -- the system's checksum tool
            [*tool, str(manifest)], cwd=demo.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        checked += done.stdout
    folders = [demo.root / "recordings", demo.root / "lake" / "recording_tail"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != SEED]
    assert sorted(checked.splitlines()) == sorted(f"{path.relative_to(demo.root).as_posix()}: OK" for path in files)


def test_a_second_demo_fetches_nothing(again: tuple[Path, Ended], demo: Demo, truth: list[dict[str, Any]]) -> None:
    """The same world again: no byte of a recording is asked for, and the archive says the same."""
    folder, ended = again
    assert ended.code == 0, ended.text
    told = ended.json
    assert told["fetched"] == 0
    assert told["differences"] == []
    assert told["verified"] == len(media_files(demo.root))
    assert_right(folder / "demo" / "archive", truth)


def test_it_writes_only_below_its_folder(demo: Demo) -> None:
    """Beside ./demo nothing is left: not in the folder, not in the home, not among the temporary files."""
    assert [path.name for path in demo.operator.folder.iterdir()] == ["demo"]
    environment = demo.operator.environment()
    for name in ("HOME", "TMPDIR"):
        assert list(Path(environment[name]).iterdir()) == []
    assert [path.name for path in (demo.root / ".tmp").iterdir()] == []


def test_a_flipped_byte_is_named(demo: Demo, tmp_path: Path) -> None:
    """When a stored recording is not what was stored, the demo ends with 1 and says which one."""
    operator = demo.copy(tmp_path / "work")
    victim = media_files(operator.folder / "demo" / "archive")[3]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    ended = operator.run(*DEMO, "--timeout", "20")
    assert ended.code == 1
    assert "DIFFERENCE" in ended.err
    assert victim.parent.name in ended.err
    assert "SHA-256" in ended.err
    assert "Traceback" not in ended.err
    verified = operator.run("verify", "--json", ARCHIVE_ROOT="demo/archive")
    assert verified.code == 3
    assert [Path(fault["path"]).name for fault in verified.json["faults"]] == [victim.name]


def test_another_world_in_the_same_folder_is_refused(demo: Demo) -> None:
    """A demo that was asked for another world says which one lies here, and touches nothing."""
    ended = demo.operator.run("demo", "--recordings", "61")
    assert ended.code == 1
    assert ended.err.startswith("error: demo/ holds the demo of")
    assert "remove demo/" in ended.err
