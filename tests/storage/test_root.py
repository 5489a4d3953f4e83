"""Which roots can be opened, and what is said about those that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.errors import SettingsError
from resources.storage import open_storage


@pytest.mark.parametrize(
    "root",
    [
        "", "   ", "simplecache::s3://bucket/x", "zip://a::file:///b.zip", "nonsense://x/y", "http://h/x", "https://h/x", "zip://x",
        "s3://", "s3:///prefix", "s3://bucket/x?versionId=1", "file://host/x", "gs://bucket/x", "az://container/x", "abfs://c@a.h/x",
    ],
)  # fmt: skip
def test_roots_that_are_refused(root: str) -> None:
    """Chains, unknown protocols, missing drivers and malformed URLs name the setting and the remedy."""
    with pytest.raises(SettingsError, match="ARCHIVE_ROOT") as caught:
        open_storage(root)
    assert "\n" not in str(caught.value)


def test_a_missing_driver_is_named() -> None:
    """The message says what to install."""
    with pytest.raises(SettingsError, match="gcsfs"):
        open_storage("gs://bucket/x")


def test_no_root_shows_a_password() -> None:
    """User info in a URL appears in no message."""
    with pytest.raises(SettingsError) as caught:
        open_storage("nonsense://user:hunter22@host/x?token=hunter22")
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "spelling", ["archive", "./archive", "{tmp}/archive", "file://{tmp}/archive", "file://localhost{tmp}/archive"]
)
def test_spellings_of_a_local_root(spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, absolute and file URLs are the same folder, and stay so when the process moves."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage(spelling.format(tmp=tmp_path))
    monkeypatch.chdir("/")
    storage.write("a/b", b"x")
    assert (tmp_path / "archive/a/b").read_bytes() == b"x"
    assert storage.local_path("a/b") == tmp_path / "archive/a/b"
    assert storage.local_path() == tmp_path / "archive"


def test_opening_writes_nothing(tmp_path: Path) -> None:
    """A root that is only looked at is not made."""
    storage = open_storage(str(tmp_path / "archive"))
    assert list(storage.list()) == []
    assert not storage.exists("a")
    assert storage.sweep() == 0
    assert list(tmp_path.iterdir()) == []


def test_s3_without_credentials_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message names the variables to set."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID"):
        open_storage("s3://bucket/x")
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(SettingsError, match="AWS_PROFILE"):
        open_storage("s3://bucket/x")
