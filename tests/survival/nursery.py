"""Real processes by the hundred: one that has imported everything forks each of them, so that a start costs nothing.

A child is a process like any other: it has an id of its own, reads its orders from its environment, and dies of kill -9. The
nursery itself never starts a thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import botocore.loaders
import botocore.session

from resources.failpoints import VARIABLE, Failpoint, Hook, hooked, killer

_PROJECT = Path(__file__).parents[2]
COUNTS = "FAILPOINT_COUNTS"
"""The file to which a child writes how often it came by each failpoint."""
MUTATIONS = "FAILPOINT_MUTATIONS"
"""Names of :data:`tests.survival.mutations.MUTATIONS`, with commas, under which a child works."""
PAUSE = "FAILPOINT_PAUSE"
"""``<failpoint>:<n>:<file>``: when a child comes there for the n-th time it makes the file, and waits until it is gone."""
FILE_BYTES = "CHILD_FILE_BYTES"
"""The largest file that a child may write (RLIMIT_FSIZE)."""
ORDINARY = "CHILD_ORDINARY"
"""Not empty: permissions count for the child, also where the tests run as root."""
_POLL_SECONDS = 0.01
_CAPABILITIES_VERSION = 0x20080522
_FILE_PERMISSION_CAPABILITIES = 0b1111  # CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, see capabilities(7)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code; -9 when it was killed.
        text: what it wrote on stdout and stderr.
        peak: the most memory that it had, in bytes.
    """

    code: int
    text: str
    peak: int


@dataclass
class Nursery:
    """The process that forks."""

    process: subprocess.Popen[str] = field(repr=False)
    log: Path

    def run(self, environment: Mapping[str, str], days: Sequence[date]) -> Ended:
        """Run one child to its end."""
        self.start(environment, days)
        return self.ended()

    def start(self, environment: Mapping[str, str], days: Sequence[date]) -> None:
        """Start a child; the next one can be started once it has ended."""
        assert self.process.stdin is not None
        order = {"environment": dict(environment), "days": [day.isoformat() for day in days], "log": str(self.log)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def ended(self) -> Ended:
        """Wait for the child, and return how it ended."""
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        assert answer, "the nursery has died"
        code, peak = map(int, answer.split())
        return Ended(code, self.log.read_text(errors="replace"), peak)


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
        _, status, used = os.wait4(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {used.ru_maxrss * 1024}\n")
        sys.stdout.flush()


def _obey(environment: Mapping[str, str], days: Sequence[str], log: str) -> int:
    from tests.survival import mutations  # noqa: PLC0415
    from tests.survival.run import run  # noqa: PLC0415

    os.environ.update(environment)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(sink, stream)
    counts: Counter[Failpoint] = Counter()
    hooks: dict[str, Callable[[str], Hook]] = {VARIABLE: killer, PAUSE: _pauser}
    hook = next((make(os.environ[name]) for name, make in hooks.items() if os.environ.get(name)), lambda at: counts.update([at]))
    if limit := os.environ.get(FILE_BYTES):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if os.environ.get(ORDINARY):
        _heed_permissions()
    try:
        with contextlib.ExitStack() as stack:
            for name in filter(None, os.environ.get(MUTATIONS, "").split(",")):
                stack.enter_context((mutations.MUTATIONS | mutations.EMULATED)[name]())
            stack.enter_context(hooked(hook))
            run([date.fromisoformat(day) for day in days])
    except Exception:  # noqa: BLE001 -- told to the test by the exit code and the log
        traceback.print_exc()
        return 1
    if target := os.environ.get(COUNTS):
        Path(target).write_text(json.dumps(counts))
    return 0


def _pauser(order: str) -> Hook:
    """Return the hook that announces a place and waits there for the test to do something."""
    name, number, file = order.split(":", 2)
    left = [int(number)]
    lock = threading.Lock()

    def pause(point: Failpoint) -> None:
        if point.value != name:
            return
        with lock:
            left[0] -= 1
            mine = left[0] == 0
        if mine:
            Path(file).touch()
            while Path(file).exists():
                time.sleep(_POLL_SECONDS)  # waits for the test, which waits for us

    return pause


def _heed_permissions() -> None:
    """Give up what lets root pass by permissions. A thread's capabilities are those of the thread that starts it."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] &= ~_FILE_PERMISSION_CAPABILITIES
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "cannot give up root's capabilities")


if __name__ == "__main__":
    _serve()
