"""The command line as an operator runs it: a process of its own, in a folder of its own, with a known environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resources.settings import Settings

SECONDS = 240.0
"""When a process counts as stuck. Generous: other tests share the machine."""
POLL_SECONDS = 0.02
IMPATIENT = {
    "RETRY_BASE_SECONDS": "0.05",
    "RETRY_SLOW_SECONDS": "0.05",
    "RETRY_MAX_SECONDS": "0.05",
    "RETRY_ATTEMPT_LIMIT": "1000",
    "BLOCKED_RECHECK_SECONDS": "0.05",
    "TRANSIENT_RETRIES": "1",
    "TRANSIENT_BUDGET_SECONDS": "3",
    "KATAVEN_RATE_LIMITS": "1000000/minute",
}
"""Settings under which everything that waits is due in the next run."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 -- JSON
        """What it printed on stdout, which has to be one JSON document."""
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who runs commands in ``folder`` with ``env`` and nothing else of this process's settings."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    def environment(self, **more: str | None) -> dict[str, str]:
        """Return the environment of a command; None takes a variable out."""
        private = self.folder.parent / f"{self.folder.name}-private"
        for name in ("home", "tmp"):
            (private / name).mkdir(parents=True, exist_ok=True)
        ours = {name.upper() for name in Settings.model_fields}
        plain = {
            name: value for name, value in os.environ.items() if name not in ours and not name.startswith(("AWS_", "DAGSTER_"))
        }
        known: dict[str, str | None] = {
            **plain,
            "HOME": str(private / "home"),
            "TMPDIR": str(private / "tmp"),
            **self.env,
            **more,
        }
        return {name: value for name, value in known.items() if value is not None}

    def run(self, *arguments: str, **more: str | None) -> Ended:
        """Run one command to its end."""
        done = subprocess.run(  # noqa: S603 -- our own command
            [*program(), *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **more: str | None) -> subprocess.Popen[str]:
        """Start one command as the leader of a process group; its output goes to files beside its folder."""
        with self._log("out").open("w") as out, self._log("err").open("w") as err:
            return subprocess.Popen(  # noqa: S603 -- our own command
                [*program(), *arguments],
                cwd=self.folder,
                env=self.environment(**more),
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
            )

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for a started command, and return how it ended."""
        code = process.wait(SECONDS)
        return Ended(code, self._log("out").read_text(), self._log("err").read_text())

    def _log(self, kind: str) -> Path:
        return self.folder.parent / f"{self.folder.name}.{kind}"


def program() -> list[str]:
    """Return the console script beside this Python, or what it calls."""
    script = Path(sys.executable).parent / "recording-archive"
    return [str(script)] if script.exists() else [sys.executable, "-c", "from pipelines.cli import main; main()"]


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Watch real processes until something has happened."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(POLL_SECONDS)
