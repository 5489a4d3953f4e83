"""The canary: no key and no presigned signature of a whole life, with its failures, is in any file or on any screen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandbox.options import WorldOptions
from sandbox.server import Sandbox
from tests.end_to_end.command import SECONDS, Operator
from tests.end_to_end.conftest import Demo, all_days, new_operator
from tests.end_to_end.leaks import SIGNED_QUERY, Search, find_secrets

pytestmark = pytest.mark.slow

WRONG_KEYS = {
    "ASTEROID_API_KEY": "canary-wrong-asteroid-key",
    "FEATHER_API_KEY": "canary-wrong-feather-key",
    "KATAVEN_API_KEY": "sk_live_sandbox_canary-wrong-kataven-key",
}
PASSWORD = "canary-password"  # noqa: S105 -- planted to be looked for
REDIRECT = f"http://localhost:1/elsewhere?X-Amz-Signature={PASSWORD}"
FAULTS: tuple[tuple[str, tuple[tuple[str, object], ...]], ...] = (
    ("all", (("wrong-keys", "asteroid"), ("forbidden", "feather"), ("kataven-wrong-base", None))),
    ("feather", (("everything-500", None),)),
    ("asteroid", (("link-expired", None),)),
    ("kataven", (("media-private", None),)),
    ("feather", (("media-redirect", REDIRECT),)),
    ("asteroid", (("media-truncate", None),)),
    ("kataven", (("media-html", None),)),
    ("asteroid", (("media-json", None),)),
)
"""The failures that are gone through, one run for each, and of which provider; then a good run of all."""


@dataclass
class Life:
    """An archive's whole life with its failures, and everything that was printed meanwhile."""

    operator: Operator
    sandbox: Sandbox
    printed: list[str] = field(default_factory=list[str])

    def run(self, *arguments: str, **more: str | None) -> int:
        """Run a command and keep what it printed."""
        ended = self.operator.run(*arguments, **more)
        self.printed.append(ended.text)
        assert "Traceback" not in ended.text, ended.text
        return ended.code

    def materialize(self) -> None:
        """Run an asset through Dagster's own command, which keeps compute logs as the daemon's runs do."""
        provider = "feather"
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "pipelines.definitions"]
        command += ["--select", f"{provider}/executions,{provider}/recordings", "--partition", self.sandbox.window["last"]]
        environment = self.operator.environment(DAGSTER_HOME=str(self.operator.folder / ".dagster"))
        done = subprocess.run(  # noqa: S603 -- Dagster's own command
            command, cwd=self.operator.folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        self.printed.append(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def world() -> WorldOptions:
    """A world with every kind of metadata, hidden links among it, and few bytes."""
    return WorldOptions(recordings=50, megabytes=1, days=1, late_seconds=0.5)


@pytest.fixture(scope="module")
def life(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Go through all failures, and then through a good run."""
    life = Life(new_operator(sandbox, tmp_path_factory.mktemp("secrets") / "work"), sandbox)
    days = all_days(sandbox)
    quick = {"TRANSIENT_RETRIES": "0"}
    life.run("run", *days, **WRONG_KEYS)
    life.run("run", "asteroid", *days, ASTEROID_BASE_URL=f"http://user:{PASSWORD}@127.0.0.1:1/agents/v2?token={PASSWORD}")
    life.run("doctor", FEATHER_BASE_URL=f"http://127.0.0.1:1/?token={PASSWORD}")
    life.run("status", ARCHIVE_ROOT=f"simplecache::s3://user:{PASSWORD}@bucket/prefix")
    life.run("status", ARCHIVE_ROOT=f"https://user:{PASSWORD}@127.0.0.1:1/prefix?token={PASSWORD}")
    for provider, faults in FAULTS:
        for name, value in faults:
            sandbox.set_fault(name, value)
        life.run("run", provider, *days, **quick)
        if faults[0][0] == "media-html":
            life.materialize()
        sandbox.clear_faults()
    inventory = sandbox.inventory / "broken.jsonl"
    inventory.write_text(f'{{"session_id": "agent_1", "notes": "http://localhost/?X-Amz-Signature={PASSWORD}\n')
    life.run("run", "kataven", *days, **quick)
    inventory.unlink()
    assert life.run("run", *days, "--retry-failed", "--json") in (0, 3)
    for command in (("status",), ("verify",), ("doctor",), ("query", "SELECT * FROM recording_attempts")):
        life.run(*command)
    return life


def test_no_secret_is_in_any_file(life: Life) -> None:
    """Dagster's databases and logs, Parquet, the catalog, sidecars, manifests and recordings hold no key and no signature."""
    told = life.sandbox.secrets()
    secrets = {*told["keys"], *told["signatures"], *WRONG_KEYS.values(), PASSWORD, *SIGNED_QUERY}
    assert len(told["signatures"]) > 100
    found = find_secrets(life.operator.folder, secrets)
    assert found == []
    kinds = {path.suffix for path in life.operator.folder.rglob("*") if path.is_file()}
    assert {".db", ".parquet", ".duckdb", ".json", ".txt", ".err", ".out"} <= kinds, "not everything was there to be searched"


def test_no_secret_is_printed(life: Life) -> None:
    """What the commands print, failures included, holds no key and no signature."""
    told = life.sandbox.secrets()
    search = Search({*told["keys"], *told["signatures"], *WRONG_KEYS.values(), PASSWORD, *SIGNED_QUERY})
    assert [(secret, text) for text in life.printed for secret in search(text.encode())] == []


def test_no_key_went_where_it_does_not_belong(life: Life) -> None:
    """No key was ever in a URL, and none reached the media host."""
    told = life.sandbox.requests()
    assert told["media_header_leaks"] == 0
    assert told["keys_in_urls"] == 0
    assert sum(row["media_gets"] for row in told["recordings"]) > 50  # type: ignore[attr-defined]


def test_the_life_went_through_the_failures(life: Life) -> None:
    """The failures were real: each left its outcome in the catalog's history."""
    ended = life.operator.run("query", "SELECT DISTINCT outcome FROM recording_attempts", "--json")
    outcomes = {row["outcome"] for row in ended.json["rows"]}
    kept = {path.parts[-4] for path in life.operator.folder.rglob("quarantine/**/*.txt")}
    assert kept == {"provider=asteroid", "provider=feather", "provider=kataven"}, "pages that quote links were searched"
    assert {"blocked", "transient", "expired", "refused", "not_media", "not_ready", "archived"} <= outcomes


def test_a_demo_leaves_no_secret(demo: Demo) -> None:
    """Below ./demo there is no key and no signature of its sandbox, and none was printed."""
    assert len(demo.secrets) > 60
    secrets = {*demo.secrets, *SIGNED_QUERY}
    assert find_secrets(demo.operator.folder, secrets) == []
    assert Search(secrets)(demo.ended.text.encode()) == set()
    assert demo.requests["media_header_leaks"] == 0
    assert demo.requests["keys_in_urls"] == 0


def test_the_environment_holds_the_secrets(life: Life, tmp_path: Path) -> None:
    """The search would find them: written to a file, the operator's own environment is full of them."""
    (tmp_path / "environment").write_text(repr(life.operator.env))
    assert len(find_secrets(tmp_path, life.sandbox.secrets()["keys"])) >= 3
