"""What the tests of compactions share: what a ledger's files are, whether they are right, and a death on the way."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from assets.recordings import names
from assets.recordings.audit.verification import Verification
from assets.recordings.ledger import Ledger
from resources.failpoints import Failpoint, hooked


class KilledError(BaseException):
    """The process ends here."""


@contextmanager
def killed_at(point: Failpoint, turn: int) -> Generator[None]:
    """Let the block be killed when it comes by ``point`` for the so manieth time; it has to."""
    left = [turn]

    def die(at: Failpoint) -> None:
        left[0] -= at is point
        if left[0] == 0:
            raise KilledError

    with hooked(die), pytest.raises(KilledError):
        yield


def files(ledger: Ledger, tree: str) -> list[str]:
    """Return the files of a tree."""
    return [info.path for info in ledger.storage.list(f"{tree}/provider=feather")]


def rows(ledger: Ledger) -> list[str]:
    """Return every event that the ledger gives, in an order of their own."""
    return sorted(repr(row) for row in ledger.events_table("feather").to_pylist())


def faults(ledger: Ledger) -> dict[str, list[str]]:
    """Return what verify says of everything but the recordings' bytes, which these tests do not have."""
    found: dict[str, list[str]] = {}
    verification = Verification(Ledger(ledger.storage), "feather")
    for verdict in itertools.chain(*map(verification.check, verification.days()), verification.finish()):
        if verdict.fault and not verdict.is_copy:
            found.setdefault(verdict.path, []).append(verdict.fault)
    return found


def check_sums(ledger: Ledger) -> None:
    """Let the system's own tool check every manifest, but for recordings, and see that every file of events is in one."""
    root = ledger.storage.local_path()
    assert root is not None
    lines = [
        line
        for path in sorted((root / names.MANIFESTS).rglob(names.MANIFEST_NAME))
        for line in path.read_text().splitlines(keepends=True)
        if "  recordings/" not in line
    ]
    done = subprocess.run(
        ["/usr/bin/env", "sha256sum", "-c", "--quiet", "-"],
        input="".join(lines),
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.partition("  ")[2].strip() for line in lines}
    assert listed >= {
        *files(ledger, names.TAIL),
        *(path for part in ledger.partitions("feather").values() if (path := part.history)),
    }
