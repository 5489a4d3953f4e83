"""The canary: no key and no presigned signature of a whole life, with every failure there is, is in any file or on any screen.

Two archives live through it, each in one process whose libraries all write their debug log: one against the sandbox, fault by
fault, and one against a provider that tells secrets in everything it says (:mod:`tests.end_to_end.leaky`), status by status. Then
everything they wrote is searched. What each failure left in the ledger or on the screen shows that it was really gone through.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resources.providers.registry import PROVIDERS
from resources.transfer.answers import MEDIA_ANSWERS
from sandbox.faults import Fault
from sandbox.options import WorldOptions
from sandbox.server import Sandbox
from tests.end_to_end.command import IMPATIENT, SECONDS, Operator, wait_until
from tests.end_to_end.conftest import Demo, all_days, new_operator
from tests.end_to_end.leaks import SIGNED_QUERY, Search, find_secrets
from tests.end_to_end.leaky import CANARIES, QUERY, Leaky, bodies, running_leaky
from tests.end_to_end.session import Session, session

pytestmark = pytest.mark.slow

WRONG_KEYS = {
    "ASTEROID_API_KEY": "canary-wrong-asteroid-key",
    "FEATHER_API_KEY": "canary-wrong-feather-key",
    "KATAVEN_API_KEY": "sk_live_sandbox_canary-wrong-kataven-key",
}
PASSWORD = "canary-password"  # noqa: S105 -- planted to be looked for
STORAGE_SECRET = "canary/storage+secret/0123456789abcdef"  # noqa: S105 -- the same
STORAGE_TOKEN = "canary-session-token//0123456789abcdef=="  # noqa: S105 -- the same
PLANTED = (*WRONG_KEYS.values(), PASSWORD, STORAGE_SECRET, STORAGE_TOKEN, *CANARIES)
REDIRECT = f"http://localhost:1/elsewhere?X-Amz-Signature={PASSWORD}"
QUICK = {"TRANSIENT_RETRIES": "0", "MEDIA_STALL_SECONDS": "1", "MEDIA_DEADLINE_SECONDS": "3"}

FAULTS: tuple[tuple[str, dict[Fault, object], str], ...] = (
    ("asteroid", {Fault.WRONG_KEYS: "asteroid"}, r"401"),
    ("feather", {Fault.FORBIDDEN: "feather"}, r"403"),
    ("asteroid", {Fault.EVERYTHING_500: None}, r"500 Internal Server Error|HTTP 500"),
    ("feather", {Fault.RATE_LIMIT: "1/second"}, r"429|rate_limited"),
    ("asteroid", {Fault.ASTEROID_SHIFTING_PAGES: None}, r"'asteroid list 200': [1-9]"),
    ("asteroid", {Fault.ASTEROID_EXCLUSIVE_BOUNDS: None}, r"'asteroid list 200': [1-9]"),
    ("feather", {Fault.FEATHER_REPEATED_CURSOR: None}, r"goes in circles"),
    ("kataven", {Fault.KATAVEN_WRONG_BASE: None}, r"KATAVEN_BASE_URL"),
    ("asteroid", {Fault.LINK_EXPIRED: None}, r"expired"),
    ("kataven", {Fault.MEDIA_PRIVATE: None}, r"refused.*169\.254\.169\.254|169\.254\.169\.254.*refused"),
    ("feather", {Fault.MEDIA_REDIRECT: REDIRECT}, r"transient|refused"),
    ("kataven", {Fault.MEDIA_HTML: None}, r"not_media"),
    ("kataven", {Fault.MEDIA_GZIP: None}, r"not_media.*encoded|encoded.*not_media"),
    ("kataven", {Fault.MEDIA_NO_LENGTH: None}, r"not_media|transient"),
    ("kataven", {Fault.MEDIA_SLOW: 50}, r"stalled|DEADLINE"),
    ("kataven", {Fault.MEDIA_TRUNCATE: 1000, Fault.MEDIA_NO_RANGES: None}, r"the body broke"),
    ("feather", {Fault.MEDIA_TRUNCATE: 1000, Fault.MEDIA_NEW_ETAG: None}, r"the body broke"),
    ("kataven", {Fault.MEDIA_TRUNCATE: None, Fault.MEDIA_OVERLAP: None}, r"'media GET 206': [1-9]"),
    ("asteroid", {Fault.MEDIA_JSON: None}, r"not_media"),
    ("feather", {Fault.MEDIA_SVG: None}, r"not_media"),
    ("asteroid", {Fault.CHAOS: "0.6/7"}, r"transient|not_media|blocked|rate_limited|expired"),
)
"""One run for each: of which provider, the faults that are on, and what has to be seen of it."""

WRONG_SETTINGS: tuple[tuple[tuple[str, ...], dict[str, str], str], ...] = (
    (("run", "asteroid"), {"ASTEROID_BASE_URL": f"http://u:{PASSWORD}@127.0.0.1:1/v2?token={PASSWORD}"}, "ASTEROID_BASE_URL"),
    (("doctor",), {"FEATHER_BASE_URL": f"http://127.0.0.1:1/?token={PASSWORD}"}, "FEATHER_BASE_URL"),
    (("status",), {"ARCHIVE_ROOT": f"simplecache::s3://u:{PASSWORD}@bucket/prefix"}, "chained"),
    (("status",), {"ARCHIVE_ROOT": f"https://u:{PASSWORD}@127.0.0.1:1/prefix?token={PASSWORD}"}, "cannot be written to"),
    (("status",), {"ARCHIVE_ROOT": f"s3://u:{PASSWORD}@bucket/prefix"}, "without a query or a password"),
    (("status",), {"ARCHIVE_ROOT": f"s3://bucket/prefix?X-Amz-Signature={PASSWORD}"}, "without a query"),
    (("status",), {"ARCHIVE_ROOT": f"sftp://u:{PASSWORD}@127.0.0.1:1/prefix"}, "ARCHIVE_ROOT|cannot be used"),
    (("run", "kataven"), {"KATAVEN_SESSIONS": f"http://u:{PASSWORD}@127.0.0.1:1/x.csv?token={PASSWORD}"}, "KATAVEN_SESSIONS"),
    (("run", "kataven"), {"KATAVEN_SESSIONS": f"ftp://u:{PASSWORD}@127.0.0.1:1/x.csv"}, "KATAVEN_SESSIONS"),
    (("run", "kataven"), {"KATAVEN_SESSIONS": f"simplecache::https://u:{PASSWORD}@h/x.csv"}, "chained"),
)
"""Settings with a password in them, each with what the message has to name."""


@dataclass
class Life:
    """An archive's life, and what was seen of each failure."""

    session: Session
    sandbox: Sandbox | None = None
    printed: list[str] = field(default_factory=list[str])
    seen: dict[str, str] = field(default_factory=dict[str, str])
    missed: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    def go_through(self, name: str, expected: str, *arguments: str, **more: str | None) -> None:
        """Run a command, and look whether what it was to go through shows."""
        before = self._asked()
        ended = self.session.run(*arguments, **more)
        self.printed.append(ended.text)
        kept = [f"{row['outcome']} {row['http_status']} {row['detail']}" for row in self.session.news()]
        asked = {question: count - before.get(question, 0) for question, count in self._asked().items()}
        self.seen[name] = f"{ended.text} {kept} {asked}"
        if not re.search(expected, self.seen[name]):
            self.missed.append((name, expected, self.seen[name]))

    def _asked(self) -> dict[str, int]:
        """Return how often each endpoint of the sandbox has given each answer."""
        told: dict[str, dict[str, dict[str, int]]] = self.sandbox.requests()["endpoints"] if self.sandbox else {}  # type: ignore[assignment]
        return {
            f"{party} {endpoint} {status}": count
            for party, endpoints in told.items()
            for endpoint, statuses in endpoints.items()
            for status, count in statuses.items()
        }


@pytest.fixture(scope="module")
def world() -> WorldOptions:
    """A world with every kind of metadata, hidden links among it, and few bytes."""
    return WorldOptions(recordings=40, megabytes=1, days=1, late_seconds=0.5)


@pytest.fixture(scope="module")
def life(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Go through all faults of the sandbox, wrong settings and storage that fails, and then through a good run."""
    operator = new_operator(sandbox, tmp_path_factory.mktemp("secrets") / "work")
    days = all_days(sandbox)
    first = operator.run("run", *days, **WRONG_KEYS)  # as an operator's own process
    with session(operator) as running:
        life = Life(running, sandbox, [first.text])
        for command, settings, expected in WRONG_SETTINGS:
            life.go_through(str(settings), expected, *command, *(days if command[0] == "run" else ()), **settings)
        for provider, faults, expected in FAULTS:
            for fault, value in faults.items():
                sandbox.set_fault(fault, value)
            life.go_through(" ".join(faults), expected, "run", provider, *days, **QUICK)
            if Fault.MEDIA_HTML in faults:
                life.printed.append(_materialize(operator, sandbox))
            sandbox.clear_faults()
        _bad_inventory(life, days)
        _bad_storage(life, days)
        life.printed.append(_killed(operator, sandbox, days))
        life.go_through("good", r'"archived": \d', "run", *days, "--retry-failed", "--json")
        for command in (("status",), ("verify",), ("doctor",), ("query", "SELECT * FROM recording_attempts")):
            life.go_through(command[0], ".", *command)
    return life


def _bad_inventory(life: Life, days: tuple[str, ...]) -> None:
    assert life.sandbox is not None
    link = f"http://localhost/?X-Amz-Signature={PASSWORD}"
    broken = {
        "broken.jsonl": f'{{"session_id": "agent_1", "notes": "{link}\n',
        f"broken-{PASSWORD}.parquet": link,
        "broken.csv": f"{link}\n1,2",
    }
    for name, text in broken.items():
        path = life.sandbox.inventory / name
        path.write_text(text)
        life.go_through(f"inventory {name}", "everything_was_understood|problems", "run", "kataven", *days, **QUICK)
        path.unlink()


def _bad_storage(life: Life, days: tuple[str, ...]) -> None:
    in_the_way = life.session.operator.folder / "in-the-way"
    in_the_way.write_text("a file of somebody's")
    life.go_through("storage: a file", "a file, not a folder", "run", "feather", *days, ARCHIVE_ROOT=str(in_the_way))
    keys = {"AWS_ACCESS_KEY_ID": "AKIACANARY", "AWS_SECRET_ACCESS_KEY": STORAGE_SECRET, "AWS_SESSION_TOKEN": STORAGE_TOKEN}
    keys |= {
        "AWS_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "ARCHIVE_ROOT": "s3://bucket/prefix",
    }
    down = keys | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    life.go_through("storage: S3 is down", "cannot be reached", "status", **down)
    with running_leaky("2026-11-20") as leaky:
        refusing = keys | {"AWS_ENDPOINT_URL": leaky.origin}
        leaky.list_answers = {"all": 403}
        life.go_through("storage: S3 refuses", "error: s3://bucket", "status", **refusing)
        leaky.list_answers = {"all": bodies(f"http://x/?{QUERY}")["html"][1]}
        life.go_through("storage: no S3", "error: s3://bucket", "status", **refusing)


def _materialize(operator: Operator, sandbox: Sandbox) -> str:
    """Run an asset through Dagster's own command, which keeps compute logs as the daemon's runs do, with all logs on."""
    home = operator.folder / ".dagster-debug"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "python_logs:\n  python_log_level: DEBUG\n  managed_python_loggers: [root]\ntelemetry: {enabled: false}\n"
    )
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "pipelines.definitions"]
    command += ["--select", "feather/executions,feather/recordings", "--partition", sandbox.window["last"]]
    done = subprocess.run(  # noqa: S603 -- Dagster's own command
        command,
        cwd=operator.folder,
        env=operator.environment(DAGSTER_HOME=str(home)),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert list(home.rglob("*.err"))
    return done.stdout + done.stderr


def _killed(operator: Operator, sandbox: Sandbox, days: tuple[str, ...]) -> str:
    """Kill a run in the middle of its transfers; what it had written so far stays to be searched.

    It archives to a root of its own: which of the recordings the life before it has left to transfer is chance.
    """
    root = operator.folder / "killed"
    sandbox.set_fault(Fault.MEDIA_SLOW, 2_000)
    process = operator.start("run", "asteroid", *days, ARCHIVE_ROOT=str(root))
    wait_until(lambda: any((root / ".tmp").glob("*-*")) or process.poll() is not None, "a transfer has begun")
    process.send_signal(signal.SIGKILL)
    sandbox.clear_faults()
    ended = operator.ended(process)
    assert ended.code == -signal.SIGKILL, ended.text
    return ended.text


@pytest.fixture(scope="module")
def told_life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Life, Leaky]]:
    """Go through every status of every endpoint of a provider that tells secrets in everything it says."""
    folder = tmp_path_factory.mktemp("leaky") / "work"
    folder.mkdir()
    with running_leaky("2026-11-20") as leaky:
        operator = Operator(folder, _leaky_settings(leaky, folder))
        with session(operator) as running:
            yield _tell_everything(Life(running), leaky), leaky


def _leaky_settings(leaky: Leaky, folder: Path) -> dict[str, str]:
    hosts = {"MEDIA_ALLOWED_HOSTS": "127.0.0.1", "MEDIA_ALLOW_PRIVATE": "true", "ARCHIVE_START_DATE": leaky.day}
    keys = {"ASTEROID_API_KEY": WRONG_KEYS["ASTEROID_API_KEY"], "FEATHER_API_KEY": WRONG_KEYS["FEATHER_API_KEY"]}
    keys["KATAVEN_API_KEY"] = WRONG_KEYS["KATAVEN_API_KEY"]
    bases = {f"{name.upper()}_BASE_URL": f"{leaky.origin}/{name}{path}" for name, path in BASES.items()}
    return {**IMPATIENT, **QUICK, **hosts, **keys, **bases, "KATAVEN_SESSIONS": str(folder / "sessions.jsonl")}


BASES = {"asteroid": "/agents/v2", "feather": "", "kataven": "/v1"}
OTHER_LINKS = (204, 302, 404, 408, 418, 502)
OTHER_MEDIA = (204, 206, 302, 416, 418, 500, 503)
STOPPING = (400, 401, 403)
LATER = ("BLOCKED_RECHECK_SECONDS", "RETRY_BASE_SECONDS", "RETRY_SLOW_SECONDS", "RETRY_MAX_SECONDS")
LISTS = (302, 400, 401, 403, 404, 429, 500, 503)


def _tell_everything(life: Life, leaky: Leaky) -> Life:
    day = ("--date", leaky.day)
    statuses = {status for spec in PROVIDERS.values() for status in spec.link_answers} | {*OTHER_LINKS}
    ids = [f"link-{status}" for status in sorted(statuses - {*STOPPING})]
    ids += [f"media-{status}" for status in sorted({*MEDIA_ANSWERS, *OTHER_MEDIA})]
    ids += [f"body-{name}" for name in bodies("")] + ["cut-1"]
    leaky.ids = ids
    sessions = [{**leaky.execution(name), "session_id": name, "started_at": f"{leaky.day}T01:00:00Z"} for name in ids]
    (life.session.operator.folder / "sessions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in sessions))
    life.go_through("answers", "not_media", "run", *day)
    for status in STOPPING:
        leaky.link_status = status
        later = dict.fromkeys(LATER, "3600") if status == STOPPING[-1] else {}
        life.go_through(f"links {status}", f"{status}", "run", *day, **later)
    answers: list[int | bytes] = [*LISTS, *(bodies(f"https://x/?{QUERY}")[name][1] for name in ("html", "json", "text"))]
    answers += [
        f'{{"items": [{{"id": "a", "url": "https://x/?{QUERY}", "n": NaN}}], "agentCalls": ["https://x/?{QUERY}"]}}'.encode()
    ]
    for one, two in zip(answers[::2], [*answers[1::2], 500], strict=False):
        leaky.list_answers = {"asteroid": one, "feather": two}
        told = "|".join(str(answer) if isinstance(answer, int) else "." for answer in (one, two))
        life.go_through(f"lists {told}", told, "run", *day, KATAVEN_API_KEY=None)
    return life


def test_every_fault_of_the_sandbox_was_gone_through(life: Life) -> None:
    """A fault that is new in the sandbox has to be gone through here too."""
    assert {fault for _, faults, _ in FAULTS for fault in faults} == set(Fault)
    assert len(life.seen) >= len(FAULTS) + len(WRONG_SETTINGS)
    assert life.missed == []


def test_every_documented_answer_was_gone_through(told_life: tuple[Life, Leaky]) -> None:
    """Each status in the tables of the providers and of the media was really answered."""
    life, leaky = told_life
    assert life.missed == []
    wanted = {(f"{name} link", status) for name, spec in PROVIDERS.items() for status in spec.link_answers}
    wanted |= {("list", status) for spec in PROVIDERS.values() for status in spec.read_answers if status != 200}
    wanted |= {("media", status) for status in MEDIA_ANSWERS} | {(f"body {name}", 200) for name in bodies("")} | {("cut", 200)}
    assert wanted <= leaky.hit


def test_no_secret_is_in_any_file(life: Life) -> None:
    """Dagster's databases and logs, Parquet, the catalog, sidecars, manifests and recordings hold no key and no signature."""
    told = life.sandbox.secrets() if life.sandbox else {"keys": [], "signatures": []}
    assert len(told["signatures"]) > 100
    assert _leaks(life, {*told["keys"], *told["signatures"], *SIGNED_QUERY}) == []
    folder = life.session.operator.folder
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert {".db", ".parquet", ".duckdb", ".json", ".txt", ".err", ".out", ".log"} <= kinds, (
        "not everything was there to be searched"
    )
    kept = {path.parts[-4] for path in folder.rglob("quarantine/**/*.txt")}
    assert kept, "pages that quote links were kept as evidence, and searched"
    log = life.session.log.read_text()
    assert "botocore" in log or "urllib3" in log
    assert len(log) > 10_000, "the debug log was on"


def test_no_secret_of_a_provider_that_tells_them_is_in_any_file(told_life: tuple[Life, Leaky]) -> None:
    """The same of the archive whose provider and media host put secrets into all their answers."""
    life, _ = told_life
    assert _leaks(life, set()) == []
    assert "httpcore" in life.session.log.read_text(), "the debug log of the HTTP client was on"
    # The one place where their words may stay: a body that begins as media does is a recording, whatever follows.


def _leaks(life: Life, secrets: set[str]) -> list[tuple[Path, str]]:
    folder = life.session.operator.folder
    wanted = {*secrets, *PLANTED}
    found = [leak for place in (folder, *folder.parent.glob(f"{folder.name}*")) for leak in find_secrets(place, wanted)]
    return [(path, secret) for path, secret in dict.fromkeys(found) if not _is_kept_on_purpose(folder, path)]


def _is_kept_on_purpose(folder: Path, path: Path) -> bool:
    """Tell what is evidence and input, not output: the bytes of a recording, and the inventory that the test wrote itself."""
    return (path.suffix in {".mp3", ".mp4"} and "recordings" in path.parts) or path == folder / "sessions.jsonl"


def test_no_secret_is_printed(life: Life, told_life: tuple[Life, Leaky]) -> None:
    """What the commands print, failures included, holds no key and no signature."""
    told = life.sandbox.secrets() if life.sandbox else {"keys": [], "signatures": []}
    search = Search({*told["keys"], *told["signatures"], *PLANTED})
    assert [(secret, text) for text in (*life.printed, *told_life[0].printed) for secret in search(text.encode())] == []
    assert "Traceback" not in life.printed[0], "the first command was a process of its own, without a debug log"


def test_no_key_went_where_it_does_not_belong(life: Life) -> None:
    """No key was ever in a URL, and none reached the media host."""
    assert life.sandbox is not None
    told = life.sandbox.requests()
    assert told["media_header_leaks"] == 0
    assert told["keys_in_urls"] == 0
    assert sum(row["media_gets"] for row in told["recordings"]) > 50  # type: ignore[attr-defined]


def test_a_demo_leaves_no_secret(demo: Demo) -> None:
    """Below ./demo there is no key and no signature of its sandbox, and none was printed."""
    assert len(demo.secrets) > 60
    secrets = {*demo.secrets, *SIGNED_QUERY}
    assert find_secrets(demo.operator.folder, secrets) == []
    assert Search(secrets)(demo.ended.text.encode()) == set()
    assert demo.requests["media_header_leaks"] == 0
    assert demo.requests["keys_in_urls"] == 0


def test_without_redaction_the_canary_sings(tmp_path: Path) -> None:
    """The same first failures, in a process whose redaction was taken out: links and passwords are found in what it wrote."""
    folder = tmp_path / "work"
    folder.mkdir()
    with running_leaky("2026-11-20") as leaky, session(Operator(folder, _leaky_settings(leaky, folder)), blind=True) as running:
        leaky.ids = ["body-html", "media-503", "link-500"]
        (folder / "sessions.jsonl").write_text("")
        running.run("run", "asteroid", "--date", leaky.day)
        found = find_secrets(folder, PLANTED)
    assert {*CANARIES} <= {secret for _, secret in found}
    assert {".log", ".err", ".parquet"} <= {path.suffix for path, _ in found}


def test_the_environment_holds_the_secrets(life: Life, tmp_path: Path) -> None:
    """The search would find them: written to a file, the operator's own environment is full of them."""
    (tmp_path / "environment").write_text(repr(life.session.operator.env))
    assert life.sandbox is not None
    assert len(find_secrets(tmp_path, life.sandbox.secrets()["keys"])) >= 3
