"""Views over states of which some lie in their month's file: the same answers, and the other months' files stay closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.catalog.publication import publish
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import State
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage
from tests.catalog.lakes import NOW, append, day, event, opened
from tests.catalog.test_publication import read_files
from tests.catalog.test_views import check

PER_DAY = 3
DAYS = [*range(-92, 15, 5), 14]
"""Of August to November 2026, the first two months of which are over for long when the last of these days has come."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of an archive of three providers whose states of August and September are packed, and published."""
    root = tmp_path / "archive"
    storage = open_storage(str(root))
    for number in DAYS:
        append(
            storage,
            [
                event(provider, f"{name}{number}", State.ARCHIVED if name else State.PENDING, on=day(number), seq=1 + name)
                for provider in PROVIDERS
                for name in range(PER_DAY)
            ],
        )
    for provider in PROVIDERS:
        ledger = Ledger(storage)
        ledger.fold(provider)
        assert [month.month for month in ledger.pack_months(provider)] == [8, 9]
    publish(storage, PROVIDERS.values(), NOW)
    return root


def storage_at(root: Path) -> ArchiveStorage:
    """Open the archive again."""
    return open_storage(str(root))


def test_the_views_say_what_the_ledger_says(root: Path) -> None:
    """Packed or not, with news of packed days and without, before and after they are folded, published and packed again."""
    storage = storage_at(root)
    check(storage)
    append(storage, [event("feather", "0-87", State.FAILED, on=day(-87), seq=3), event("feather", "new", on=day(-61))])
    check(storage)
    for provider in PROVIDERS:
        Ledger(storage).fold(provider)
    check(storage)
    publish(storage, PROVIDERS.values(), NOW)
    check(storage)
    with opened(root) as connection:
        rows = "SELECT state FROM recordings WHERE execution_id = '0-87' AND provider = 'feather'"
        assert connection.execute(rows).fetchall() == [("failed",)], "not also as it still is in the month's file"
    assert [month.month for month in Ledger(storage).pack_months("feather")] == [8, 9]
    check(storage)
    publish(storage, PROVIDERS.values(), NOW)
    check(storage)


def test_a_question_about_a_day_opens_its_months_file(root: Path) -> None:
    """Its own provider's, once for the published states and once for what the tail may change in them."""
    with opened(root) as connection:
        for provider in PROVIDERS:
            for number in (-87, -52, 13):
                where = f"provider = '{provider}' AND \"date\" = '{day(number)}'"
                assert connection.execute(f"SELECT count(*) FROM recordings WHERE {where}").fetchall() == [(PER_DAY,)]  # noqa: S608
                assert read_files(connection, f"SELECT * FROM recordings WHERE {where}") <= 2  # noqa: S608 -- ours
        both = f"provider = 'feather' AND \"date\" BETWEEN '{day(-87)}' AND '{day(-85)}'"
        assert read_files(connection, f"SELECT * FROM recordings WHERE {both}") <= 2  # noqa: S608 -- ours
        unpacked = f"SELECT * FROM published.states WHERE provider = 'kataven' AND \"date\" >= '{day(0)}'"  # noqa: S608 -- ours
        assert read_files(connection, unpacked) <= len([number for number in DAYS if number >= 0]) + 1


def test_what_has_no_news_is_answered_from_the_file(root: Path) -> None:
    """Coverage opens no file where nothing was appended since, whole or filtered; with news, that month's."""
    storage = storage_at(root)
    with opened(root) as connection:
        assert read_files(connection, "SELECT * FROM coverage") == 0
    append(storage, [event("kataven", "new", State.FAILED, on=day(-87))])
    with opened(root) as connection:
        assert read_files(connection, "SELECT * FROM coverage") <= 2
        assert connection.execute("SELECT sum(failed) FROM coverage").fetchall() == [(1,)]


def test_readers_of_the_former_catalog_go_on(root: Path) -> None:
    """A month's file that was replaced stays for as long as the published catalog names it."""
    storage = storage_at(root)
    with opened(root) as connection:
        before = connection.execute("SELECT * FROM recordings ORDER BY ALL").fetchall()
        append(storage, [event("feather", "0-87", State.PENDING, on=day(-87))])
        Ledger(storage).fold("feather")
        Ledger(storage).pack_months("feather")
        assert connection.execute("SELECT * FROM recordings ORDER BY ALL").fetchall() == before
