"""``python -m sandbox``: starts fast, says where it is, and ends when told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "ASTEROID_API_KEY",
    "ASTEROID_BASE_URL",
    "ASTEROID_ORGANIZATION_ID",
    "FEATHER_API_KEY",
    "FEATHER_BASE_URL",
    "KATAVEN_API_KEY",
    "KATAVEN_BASE_URL",
    "KATAVEN_SESSIONS",
    "MEDIA_ALLOWED_HOSTS",
    "MEDIA_ALLOW_PRIVATE",
}


def _wait_for(path: Path) -> dict[str, object]:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, "no ready file"
        time.sleep(0.01)
    return json.loads(path.read_text())


def test_it_starts_says_where_it_is_and_ends(tmp_path: Path) -> None:
    """The ready file appears within seconds and holds the environment; SIGTERM ends the process with status 0."""
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "sandbox", "--ready-file", str(ready), "--inventory", str(tmp_path / "sessions")]
    command += ["--key", "feather=my-own-key", "--fault", "everything-500=asteroid", "--link-seconds", "feather=9"]
    begun = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own command
        facts = _wait_for(ready)
        assert time.monotonic() - begun < 3
        assert facts.keys() == {"pid", "api_origin", "media_origin", "env", "window"}
        env = facts["env"]
        assert isinstance(env, dict)
        assert env.keys() == ENVIRONMENT
        assert facts["pid"] == process.pid
        answer = httpx.get(f"{env['FEATHER_BASE_URL']}/api/v1/agent-calls", headers={"X-API-Key": "my-own-key"})
        assert "X-Amz-Expires=9&" in answer.text
        assert len(list((tmp_path / "sessions").iterdir())) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 0
        assert process.stdout is not None
        assert str(facts["api_origin"]) in process.stdout.read()
    assert not ready.exists()


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """With --exit-with-parent it does not outlive the process that started it."""
    ready = tmp_path / "ready.json"
    start = (
        "import subprocess, sys, time, pathlib\n"
        f"ready = pathlib.Path({str(ready)!r})\n"
        "subprocess.Popen([sys.executable, '-m', 'sandbox', '--exit-with-parent', '--ready-file', str(ready)])\n"
        "while not ready.exists(): time.sleep(0.01)\n"
    )
    subprocess.run([sys.executable, "-c", start], cwd=ROOT, check=True, capture_output=True, timeout=20)  # noqa: S603  # our own command
    deadline = time.monotonic() + 5
    while ready.exists():
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.05)


def test_a_wrong_fault_ends_it_with_a_message(tmp_path: Path) -> None:
    """An unknown fault is told on the command line, with the names that exist."""
    command = [sys.executable, "-m", "sandbox", "--fault", "nope", "--inventory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603  # our own command
    assert done.returncode == 1
    assert "there is no fault 'nope'" in done.stderr
    assert "media-html" in done.stderr
