"""The commands as an operator runs them, on a large archive, and killed with -9 half-way."""

from __future__ import annotations

import hashlib
import os
import pty
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.recordings import names
from assets.recordings.ledger import Ledger
from resources.failpoints import VARIABLE, Failpoint
from resources.storage import open_storage
from tests.end_to_end.command import Ended, Operator, program
from tests.fixity.heap import PROVIDER, StubProvider, days_of, fill, flip, heap, names_of, settings_of

pytestmark = pytest.mark.slow

RECORDINGS = int(os.environ.get("FIXITY_RECORDINGS", "2000"))
SOME = 400
DAYS = 5
PERSON = 3
AUDIT = (
    "from assets.recordings.audit.fixity import audit; from resources.archive import open_archive; "
    "report = audit(open_archive(), 'feather', 'audit'); print(report.copies, len(report.findings), len(report.unmended))"
)


def _made(root: Path, origin: str, recordings: int) -> Path:
    with heap(root, StubProvider(origin)) as archive:
        fill(archive, names_of(recordings), DAYS)
    return root


@pytest.fixture(scope="module")
def middle(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of an archive of some hundred recordings. Do not change it."""
    return _made(tmp_path_factory.mktemp("middle") / "archive", origin, SOME)


@pytest.fixture
def operator(middle: Path, origin: str, tmp_path: Path) -> Operator:
    """Return an operator with a copy of the archive of some hundred recordings."""
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copytree(middle, folder / "archive", copy_function=os.link)
    return operator_in(folder, origin)


def operator_in(folder: Path, origin: str) -> Operator:
    """Return an operator in ``folder``, whose provider answers at ``origin``."""
    return Operator(folder, settings_of(Path("archive"), FEATHER_BASE_URL=origin, FIXITY_CYCLE_DAYS="1"))


def write(path: Path, data: bytes) -> None:
    """Write a file of the operator's own: the others are shared with the large archive."""
    path.unlink()
    path.write_bytes(data)


def place(operator: Operator, name: str) -> Path:
    """Return where the first copy of an execution lies."""
    (found,) = (operator.folder / "archive/recordings").glob(f"provider={PROVIDER}/date=*/{name}/main.wav")
    return found


def edit_one_event(operator: Operator) -> tuple[Path, str]:
    """Change one cell of one event, as somebody would who wants a recording to look archived at another try."""
    path = max((operator.folder / "archive" / names.TAIL / f"provider={PROVIDER}").glob(f"{days_of(DAYS)[3]}_*"))
    table = pq.read_table(path)
    attempts = table["attempts"].to_pylist()
    attempts[0] += 1
    column = table.schema.get_field_index("attempts")
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(column, table.schema.field(column), pa.array(attempts, pa.int64())), sink)
    write(path, sink.getvalue().to_pybytes())
    return path, table["event_id"][0].as_py()


def own(path: Path) -> Path:
    """Make a file the operator's own, so that it can be changed in place."""
    write(path, path.read_bytes())
    return path


def below(operator: Operator, path: Path) -> str:
    """Return a path as the archive says it."""
    return path.relative_to(operator.folder / "archive").as_posix()


def test_one_byte_one_object_and_one_event_are_named_and_nothing_else(origin: str, tmp_path: Path) -> None:
    """In an archive of thousands, one flipped byte, one deleted object and one edited event row are each named by verify."""
    _made(tmp_path / "archive", origin, RECORDINGS)
    operator = operator_in(tmp_path, origin)
    clean = operator.run("verify", "--all", "--json")
    assert (clean.code, clean.err, clean.json["copies"], clean.json["faults"]) == (0, "", RECORDINGS, [])
    flipped, deleted = place(operator, "call-000123"), place(operator, "call-001001")
    flip(own(flipped))
    deleted.unlink()
    edited, event_id = edit_one_event(operator)
    ended = operator.run("verify", "--all", "--json")
    assert ended.code == PERSON
    found = {fault["path"]: (fault["recording"], fault["fault"]) for fault in ended.json["faults"]}
    assert len(ended.json["faults"]) == len(found) == 3
    assert found[below(operator, flipped)] == (
        "feather/call-000123/main",
        "the recording's SHA-256 is not the one that was stored",
    )
    assert found[below(operator, deleted)] == ("feather/call-001001/main", "the recording is missing")
    _, words = found[below(operator, edited)]
    assert "edited" in words
    assert event_id in words


def run_audit(operator: Operator, **more: str) -> Ended:
    """Run one audit in a process of its own."""
    done = subprocess.run(  # noqa: S603 -- our own code
        [sys.executable, "-c", AUDIT], cwd=operator.folder, env=operator.environment(PYTHONPATH=str(Path.cwd()), **more),
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def test_an_audit_killed_again_and_again_ends_as_one_that_was_not(operator: Operator) -> None:
    """Kill -9 between batches, before a fetch and before its event: the last run has the result of an undisturbed one."""
    bad = ["call-000005", "call-000077", "call-000150"]
    written = {name: place(operator, name).read_bytes() for name in bad}
    for name in bad[:2]:
        flip(own(place(operator, name)))
    place(operator, bad[2]).unlink()
    harmed = {name: place(operator, name).read_bytes() for name in bad[:2]}
    for point in (Failpoint.DAMAGE_NOTED, Failpoint.COPY_REPLACED, f"{Failpoint.AUDIT_NOTED}:4", Failpoint.AUDIT_READ):
        ended = run_audit(operator, **{VARIABLE: str(point)})
        assert ended.code == -signal.SIGKILL, ended.text
    ended = run_audit(operator)
    copies, _, unmended = map(int, ended.out.split())
    assert unmended == 0
    assert copies < SOME - 3 * 64, "what was noted was read again"
    assert {name: place(operator, name).read_bytes() for name in bad[:2]} == harmed
    copied = list((operator.folder / "archive/recordings").rglob("*.wav"))
    assert len(copied) == SOME + 2
    for name, data in written.items():
        (second,) = (path for path in copied if path.parent.name == name and path.name != "main.wav")
        assert (second.name, second.read_bytes()) == ("main.2.wav", data)
    verified = operator.run("verify", "--json")
    assert (verified.code, verified.json["faults"]) == (0, [])
    assert len(verified.json["notes"]) == 5
    told = operator.run("audit", "feather", "--json")
    assert (told.code, told.json["lost"], told.json["failed_checks"]) == (0, [], []), told.text


def test_a_rebuild_killed_again_and_again_ends_as_one_that_was_not(operator: Operator) -> None:
    """Kill -9 among the events, after the state and among the manifests: the last run has the result of an undisturbed one."""
    root = operator.folder / "archive"
    ledger = Ledger(open_storage(str(root)))
    wanted = {key: event.copy for day in days_of(DAYS) for key, event in ledger.read_day(PROVIDER, day).items()}
    for tree in (names.TAIL, names.STATES, names.LEDGER, names.MANIFESTS):
        shutil.rmtree(root / tree)
    (root / "archive.duckdb").unlink()
    for point in (f"{Failpoint.REBUILT_EVENTS}:2", Failpoint.REBUILT_STATE, f"{Failpoint.REBUILT_MANIFEST}:2"):
        killed = operator.run("rebuild", "--json", **{VARIABLE: str(point), "ASTEROID_API_KEY": None})
        assert killed.code == -signal.SIGKILL, killed.text
    ended = operator.run("rebuild", "--json")
    assert ended.code == 0, ended.text
    assert ended.json["providers"][PROVIDER]["recordings"] == SOME
    assert ended.json["catalog"]["rows"]["recordings"] == SOME
    assert {key: event.copy for day in days_of(DAYS) for key, event in ledger.read_day(PROVIDER, day).items()} == wanted
    assert ledger.events_table(PROVIDER).num_rows == SOME
    assert operator.run("verify", "--json").code == 0


def test_verify_repairs_when_it_is_told_to_and_not_otherwise(operator: Operator) -> None:
    """``verify`` alone changes nothing; ``--repair`` fetches the bad copy again, and is content then."""
    flip(own(place(operator, "call-000042")))
    before = _state(operator)
    spoken = operator.run("verify", "feather")
    path = below(operator, place(operator, "call-000042"))
    assert (spoken.code, spoken.err) == (PERSON, f"{path}: the recording's SHA-256 is not the one that was stored\n")
    assert _state(operator) == before
    ended = operator.run("verify", "feather", "--repair", "--json")
    assert ended.code == 0, ended.text
    assert [(fault["mended"], "main.2.wav" in fault["remedy"]) for fault in ended.json["faults"]] == [(True, True)]
    again = operator.run("verify", "feather", "--json")
    assert (again.code, again.json["faults"], len(again.json["notes"])) == (0, [], 2)
    assert operator.run("verify", "--all", "--date", "2026-11-01").code == 2


def _state(operator: Operator) -> str:
    """Return a hash of every path and every byte of the archive."""
    digest = hashlib.sha256()
    for path in sorted((operator.folder / "archive").rglob("*")):
        digest.update(str(path).encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def test_progress_is_shown_to_a_person_on_stderr(operator: Operator) -> None:
    """Before a terminal ``verify`` says how far it is; its result alone goes to stdout. Nobody else sees a word of it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603 -- our own command
        [*program(), "verify", "--all"],
        cwd=operator.folder,
        env=operator.environment(TERM="xterm"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        told = b""
        with suppress(OSError):  # Linux says so when the other end of a terminal is closed
            while piece := os.read(ours, 65536):
                told += piece
        os.close(ours)
        out = process.stdout.read() if process.stdout is not None else ""
    assert process.returncode == 0
    assert f"feather: {SOME} copies" in told.decode()
    assert out.startswith(f"{SOME} copies")
    assert len(out.splitlines()) == 1
