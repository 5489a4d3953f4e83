"""No exception reaches Dagster unredacted."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.shell import clear_failures
from resources.errors import SettingsError
from resources.known_secrets import remember_secret


def test_our_errors_become_one_message() -> None:
    """A wrong setting fails without a retry, with its own words and nothing chained."""
    with pytest.raises(dg.Failure) as caught, clear_failures():
        raise SettingsError("FEATHER_API_KEY is not set")
    assert (caught.value.description, caught.value.allow_retries) == ("FEATHER_API_KEY is not set", False)
    assert caught.value.__suppress_context__


def test_any_exception_is_redacted() -> None:
    """A library that puts a presigned URL or a key into its text does not get it into Dagster's databases."""
    remember_secret("sk_live_very_secret")
    url = "https://media.example/a.mp4?X-Amz-Signature=c0ffee"
    with pytest.raises(dg.Failure) as caught, clear_failures():
        raise RuntimeError(f"GET {url} with sk_live_very_secret failed")  # noqa: EM102
    text = str(caught.value.description) + str(caught.value.metadata)
    assert "RuntimeError: GET https://media.example/a.mp4" in text
    assert "c0ffee" not in text
    assert "sk_live_very_secret" not in text
    assert caught.value.__suppress_context__
