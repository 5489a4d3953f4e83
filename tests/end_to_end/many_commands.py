"""A process that runs many commands one after the other, with every library's debug log on; see :mod:`tests.end_to_end.session`.

``many_commands.py OUT LOG [blind]``: what the commands print goes to OUT, the log to LOG and to stderr. Each line of stdin is an
object with ``arguments`` and ``env``; the answer is a line with the exit code. With ``blind`` nothing is redacted.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys

from pipelines import cli
from resources import redaction

# Loggers with a level of their own listen to no parent: this is how a user's debug log gets past a library that was silenced.
CHATTY = (
    "httpx",
    "httpcore.http11",
    "httpcore.connection",
    "httpcore.proxy",
    "botocore",
    "botocore.auth",
    "urllib3",
    "s3fs",
    "fsspec",
)
CHATTY += ("aiobotocore", "aiohttp", "asyncio", "dagster", "py.warnings")


def _go_blind() -> None:
    never = re.compile(r"(?!)()()")
    for name in ("_URL", "_USERINFO", "_PARAMETER", "_HEADER_VALUE", "_ONE_URL"):
        setattr(redaction, name, never)
    redaction._secrets = list  # type: ignore[assignment]


def main() -> None:
    """Run what stdin asks for, until it ends."""
    out, log, *rest = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as channel, open(out, "ab") as printed:  # noqa: PTH123 -- a descriptor is wanted
        os.dup2(printed.fileno(), 1)
        if "blind" in rest:
            _go_blind()
        redaction.guard_process()
        logging.basicConfig(level=logging.DEBUG, handlers=[logging.FileHandler(log), logging.StreamHandler()])
        logging.captureWarnings(True)
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.DEBUG)
        before = dict(os.environ)
        for line in sys.stdin:
            asked = json.loads(line)
            os.environ.clear()
            os.environ.update(before | asked["env"])
            sys.argv = ["recording-archive", *asked["arguments"]]
            code = cli._exit_code()
            sys.stdout.flush()
            sys.stderr.flush()
            channel.write(f"{code}\n")
            channel.flush()


if __name__ == "__main__":
    main()
