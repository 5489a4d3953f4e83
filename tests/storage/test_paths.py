"""No path leaves the root, and every path that is allowed names one object everywhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import StorageError
from resources.storage import checked_path, open_storage

_BAD = [
    "", "/", "/etc/passwd", "a//b", "a/", "/a", ".", "..", "a/..", "../a", "a/../b", "a/./b", "./a", "a\0b", "a\nb", "a\x7fb",
    "a\x85b", "a\\b", "..\\a", ".tmp", ".tmp/x", ".TMP/x", "e\u0301", "\ud800", "x" * 256, "ü" * 128, "/".join(["x" * 250] * 5),
]  # fmt: skip
_GOOD = ["a", "a/b.json", "...", "a..b", "~/x", "provider=a/date=2026-11-20/x%2Fy", ".hidden", "a/.tmp", "ü/é 1", "x" * 255]


@pytest.mark.parametrize("path", _BAD)
def test_paths_that_are_refused(path: str, tmp_path: Path) -> None:
    """Absolute, climbing, ambiguous and too long paths are errors before the storage is touched."""
    with pytest.raises(StorageError):
        checked_path(path)
    storage = open_storage(str(tmp_path / "root"))
    for attempt in (storage.read, storage.exists, storage.delete, lambda each: storage.write(each, b"x")):
        with pytest.raises(StorageError):
            attempt(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", _GOOD)
def test_paths_that_are_allowed(path: str, tmp_path: Path) -> None:
    """Odd names that are safe are kept as they are."""
    storage = open_storage(str(tmp_path))
    storage.write(path, b"x")
    assert [found.path for found in storage.list()] == [path]


@given(st.text(alphabet=st.one_of(st.sampled_from("./~ab\\\0\n%é"), st.characters()), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_allowed_path_stays_below_the_root(tmp_path: Path, path: str) -> None:
    """Whatever the text: it is refused, or it names a place below the root and comes back from there unchanged."""
    try:
        checked = checked_path(path)
    except StorageError:
        return
    assert checked == path
    full = PurePosixPath(str(tmp_path)) / checked
    assert full.is_relative_to(str(tmp_path))
    assert ".." not in full.parts
    assert str(full.relative_to(str(tmp_path))) == path
