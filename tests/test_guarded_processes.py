"""What a process writes by itself, and by its libraries, holds no secret once it is guarded."""

from __future__ import annotations

import subprocess
import sys

_GUARDED = """
import gc, logging, sys, threading, warnings
from resources.known_secrets import remember_secret
from resources.redaction import guard_process
remember_secret("fth_live_topsecret")
guard_process()
guard_process()
logging.basicConfig(level=logging.DEBUG)
SIGNED = "https://media.example/a.mp4?X-Amz-Signature=c0ffee fth_live_topsecret"
log = logging.getLogger("botocore.auth")
log.setLevel(logging.DEBUG)
log.debug("Signature:\\n%s", "c0ffee" * 10)
log.debug("headers %s", {"Authorization": b"AWS4-HMAC-SHA256 Credential=x, Signature=" + b"c0ffee" * 8})
log.debug("headers %s", {"Authorization": "Bearer c0ffeec0ffeec0ffee"})
log.debug("wrong %d %d", SIGNED)
log.debug("GET %s", SIGNED)
logging.getLogger("clean").debug("kept %s", "as it is")
class Odd:
    def __str__(self): raise ValueError(SIGNED)
    def __repr__(self): return SIGNED
    def __del__(self): raise ValueError(SIGNED)
try:
    try:
        raise KeyError(SIGNED)
    except KeyError as error:
        raise ValueError(f"chained {SIGNED}") from error
except ValueError:
    log.exception("caught %s", SIGNED)
warnings.warn(f"warned {SIGNED}")
odd = Odd()
del odd
gc.collect()
def fail(): raise ValueError(f"thread {SIGNED}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise ExceptionGroup(f"uncaught {SIGNED}", [ValueError(SIGNED), OSError(2, SIGNED, SIGNED)])
"""


def test_nothing_that_a_process_dies_of_holds_a_secret() -> None:
    """Debug logs of libraries, faulty calls, chained errors, warnings, threads, destructors, the last exception: all clean."""
    done = subprocess.run(  # noqa: S603 -- this Python, on a program of the test
        [sys.executable, "-c", _GUARDED], capture_output=True, text=True, check=False
    )
    for word in (
        "Signature:",
        "wrong",
        "GET https://media.example/a.mp4",
        "kept as it is",
        "chained",
        "caught",
        "warned",
        "thread",
        "uncaught",
    ):
        assert word in done.stderr, done.stderr
    assert done.stderr.count("Traceback") >= 4
    assert "c0ffee" not in done.stderr
    assert "topsecret" not in done.stderr


def test_every_process_of_dagster_is_guarded() -> None:
    """Whoever loads the definitions, as the code server and each run do, has its logs redacted from then on."""
    program = "import pipelines.definitions, logging; logging.getLogger('x').warning('https://h/x?X-Amz-Signature=c0ffee')"
    done = subprocess.run(  # noqa: S603 -- this Python, on a program of the test
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "https://h/x" in done.stderr
    assert "c0ffee" not in done.stderr
