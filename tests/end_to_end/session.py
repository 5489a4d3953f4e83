"""Many commands of an operator in one process: the start of an interpreter for each of fifty failures would take minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.recordings.ledger import Ledger
from resources.providers.registry import PROVIDERS
from resources.storage import open_storage
from tests.end_to_end.command import Ended, Operator

_PROGRAM = Path(__file__).with_name("many_commands.py")


@dataclass
class Session:
    """A running process that takes commands.

    Attributes:
        operator: whose folder and environment it has.
        out, err, log: files with what was printed, and with the debug log. They lie in the folder, to be searched with it.
    """

    operator: Operator
    process: subprocess.Popen[str]
    out: Path
    err: Path
    log: Path
    _seen: set[str] = field(default_factory=set[str])

    def run(self, *arguments: str, **more: str | None) -> Ended:
        """Run one command to its end."""
        before = [path.stat().st_size if path.exists() else 0 for path in (self.out, self.err)]
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        env = {name: value for name, value in {**self.operator.env, **more}.items() if value is not None}
        stdin.write(json.dumps({"arguments": arguments, "env": env}) + "\n")
        stdin.flush()
        answer = stdout.readline()
        assert answer, f"the process died of {arguments}: {self.err.read_text()[-3000:]}"
        out, err = (path.read_bytes()[start:].decode() for path, start in zip((self.out, self.err), before, strict=True))
        return Ended(int(answer), out, err)

    def news(self) -> list[dict[str, Any]]:
        """Return the events that came into the ledger since this was last asked."""
        root = self.operator.folder / "archive"
        ledger = Ledger(open_storage(str(root)))
        rows = [row for name in PROVIDERS for row in ledger.events_table(name).to_pylist()] if root.is_dir() else []
        new = [row for row in rows if row["event_id"] not in self._seen]
        self._seen.update(row["event_id"] for row in new)
        return new


@contextmanager
def session(operator: Operator, *, blind: bool = False) -> Generator[Session]:
    """Start the process in the operator's folder, and end it."""
    out, err, log = (operator.folder / f"session.{kind}" for kind in ("out", "err", "log"))
    # The environment without our settings: each command brings them.
    plain = Operator(operator.folder).environment(DAGSTER_HOME=str(operator.folder / ".dagster"))
    with err.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, str(_PROGRAM), str(out), str(log), *(["blind"] if blind else [])],
            cwd=operator.folder,
            env=plain,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Session(operator, process, out, err, log)
        _, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
