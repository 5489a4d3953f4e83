"""Real processes by the hundred: one that has imported everything forks each of them, so that a start costs nothing.

A child is a process like any other: it has an id of its own, reads its orders from its environment, and dies of kill -9. The
nursery itself never starts a thread.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import botocore.loaders
import botocore.session

_PROJECT = Path(__file__).parents[2]
COUNTS = "FAILPOINT_COUNTS"
"""The file to which a child writes how often it came by each failpoint."""
MUTATIONS = "FAILPOINT_MUTATIONS"
"""Names of :data:`tests.survival.mutations.MUTATIONS`, with commas, under which a child works."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code; -9 when it was killed.
        text: what it wrote on stdout and stderr.
    """

    code: int
    text: str


@dataclass
class Nursery:
    """The process that forks."""

    process: subprocess.Popen[str] = field(repr=False)
    log: Path

    def run(self, environment: Mapping[str, str], days: Sequence[date]) -> Ended:
        """Run one child to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"environment": dict(environment), "days": [day.isoformat() for day in days], "log": str(self.log)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the nursery has died"
        return Ended(int(answer), self.log.read_text(errors="replace"))


@contextlib.contextmanager
def running_nursery(folder: Path) -> Iterator[Nursery]:
    """Start a nursery whose children write to a file in ``folder``."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.survival.nursery"],
        cwd=_PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Nursery(process, folder / "child.log")
        finally:
            process.kill()


def _serve() -> None:
    for name in ("httpcore", "pyarrow.parquet", "s3fs", "tests.survival.mutations"):
        importlib.import_module(name)  # what every child would import
    # botocore reads megabytes of JSON for each client: read them here, once.
    read = functools.cache(botocore.loaders.JSONFileLoader().load_file)
    botocore.loaders.JSONFileLoader.load_file = lambda _, path: read(path)
    botocore.session.get_session().create_client("s3", "us-east-1")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_obey(order["environment"], order["days"], order["log"]))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _obey(environment: Mapping[str, str], days: Sequence[str], log: str) -> int:
    from resources import failpoints  # noqa: PLC0415
    from tests.survival.mutations import MUTATIONS as KNOWN  # noqa: PLC0415
    from tests.survival.run import run  # noqa: PLC0415

    os.environ.update(environment)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(sink, stream)
    counts: Counter[failpoints.Failpoint] = Counter()
    order = os.environ.get(failpoints.VARIABLE)
    hook = failpoints.killer(order) if order else lambda point: counts.update([point])
    try:
        with contextlib.ExitStack() as stack:
            for name in filter(None, os.environ.get(MUTATIONS, "").split(",")):
                stack.enter_context(KNOWN[name]())
            stack.enter_context(failpoints.hooked(hook))
            run([date.fromisoformat(day) for day in days])
    except Exception:  # noqa: BLE001 -- told to the test by the exit code and the log
        traceback.print_exc()
        return 1
    if target := os.environ.get(COUNTS):
        Path(target).write_text(json.dumps(counts))
    return 0


if __name__ == "__main__":
    _serve()
