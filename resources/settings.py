"""The settings of the archive: environment variables, or a ``.env`` file beside ``workspace.yaml``.

Every name is documented in ``.env.example``; a test keeps the two in step. Secrets are ``SecretStr``: their repr hides them.
They are read in the process that uses them and never become Dagster config, because Dagster stores config in its databases.
"""

from __future__ import annotations

import os
import re
from datetime import date
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from resources.errors import SettingsError
from resources.known_secrets import remember_password, remember_secret

MIB = 1024 * 1024
_MOST_DAYS = 36_500
"""A century: what is added to a date, or taken from it, stays on the calendar."""
_MOST_SECONDS = _MOST_DAYS * 86_400.0
STORAGE_SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
)
"""Variables that the storage drivers read by themselves: no settings of ours, and just as secret."""
_KATAVEN_ACCOUNT = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")

_CRON = re.compile(r"([\d*/,\-]+|[A-Za-z,\-]+)(\s+([\d*/,\-]+|[A-Za-z,\-]+)){4}")

CommaList = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """All settings. Durations are seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    # -- providers: one without a key is off
    asteroid_api_key: SecretStr | None = None
    asteroid_base_url: str = "https://odyssey.asteroid.ai/agents/v2"
    asteroid_organization_id: str | None = None
    feather_api_key: SecretStr | None = None
    feather_base_url: str = "https://prod.featherhq.com"
    kataven_api_key: SecretStr | None = None
    kataven_base_url: str = "https://api.kataven.ai/v1"
    kataven_account_id: str | None = None
    kataven_sessions: str | None = None
    kataven_rate_limits: str = "60/minute,1000/hour,10000/day"
    kataven_max_in_flight: int = Field(default=20, ge=1)

    # -- the archive
    archive_root: str = "./archive"

    # -- media
    media_allowed_hosts: CommaList = ()
    media_allow_private: bool = False
    media_allowed_types: CommaList = ()
    media_max_bytes: int = Field(default=20 * 1024 * MIB, ge=1)
    media_require_length: bool = True
    media_min_bytes: int = Field(default=64, ge=1)
    media_concurrency: int = Field(default=6, ge=1, le=64)
    media_stall_seconds: float = Field(default=30.0, gt=0)
    media_min_bytes_per_second: int = Field(default=1024, ge=1)
    media_deadline_seconds: float = Field(default=3600.0, gt=0)
    media_duration_tolerance_seconds: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    media_duration_tolerance_share: float = Field(default=0.05, ge=0, le=1)

    # -- partitions
    archive_start_date: str = "2026-01-01"
    archive_reread_days: int = Field(default=3, ge=1, le=_MOST_DAYS)

    # -- the life of a recording
    retry_base_seconds: float = Field(default=60.0, gt=0, le=_MOST_SECONDS)
    retry_slow_seconds: float = Field(default=3600.0, gt=0, le=_MOST_SECONDS)
    retry_max_seconds: float = Field(default=6 * 3600.0, gt=0, le=_MOST_SECONDS)
    retry_attempt_limit: int = Field(default=50, ge=1)
    retry_deadline_days: float = Field(default=14.0, gt=0, le=_MOST_DAYS)
    absent_grace_seconds: float = Field(default=24 * 3600.0, ge=0, le=_MOST_SECONDS)
    blocked_recheck_seconds: float = Field(default=900.0, gt=0, le=_MOST_SECONDS)
    transient_retries: int = Field(default=4, ge=0)
    transient_budget_seconds: float = Field(default=120.0, ge=0)

    # -- the audit of what is archived
    fixity_cycle_days: int = Field(default=30, ge=1)
    fixity_schedule_cron: str = "40 3 * * *"
    fixity_max_seconds: float = Field(default=1800.0, gt=0)
    fixity_max_repairs: int = Field(default=100, ge=0)

    # -- the lake
    archive_grace_hours: float = Field(default=24.0, ge=0, le=_MOST_DAYS * 24)
    compaction_schedule_cron: str = "50 * * * *"

    # -- automation
    archive_schedule_cron: str = "15 * * * *"
    archive_sensor_interval_seconds: int = Field(default=60, ge=1)
    archive_sensor_max_runs: int = Field(default=10, ge=1)
    archive_automation: Literal["running", "stopped"] = "running"

    @field_validator("media_allowed_hosts", "media_allowed_types", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("media_allowed_types")
    @classmethod
    def _are_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from resources.transfer.signature import TYPES, allows  # noqa: PLC0415 -- the transfer reads these settings

        strange = [entry for entry in value if not any(allows((entry,), known) for known in TYPES)]
        if strange:
            msg = f"no recording is ever {', '.join(strange)}: write audio/*, video/*, or some of {', '.join(TYPES)}"
            raise ValueError(msg)
        return value

    @field_validator("archive_start_date")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        try:
            date.fromisoformat(value)
        except ValueError:
            msg = f"{value!r} is not a day: write it as 2026-01-01"
            raise ValueError(msg) from None
        return value

    @field_validator("archive_schedule_cron", "fixity_schedule_cron", "compaction_schedule_cron")
    @classmethod
    def _is_a_cron_line(cls, value: str) -> str:
        if not _CRON.fullmatch(value.strip()):
            msg = f"{value!r} is not a cron line of five fields: write it like 15 * * * *"
            raise ValueError(msg)
        return value

    @field_validator("kataven_account_id")
    @classmethod
    def _account_shape(cls, value: str | None) -> str | None:
        if value is not None and not _KATAVEN_ACCOUNT.fullmatch(value):
            msg = "must match ^[a-z0-9][a-z0-9_-]{0,62}$ (the account name in the Kataven console)"
            raise ValueError(msg)
        return value

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The plain values of all keys that are set; for redaction only."""
        keys = (self.asteroid_api_key, self.feather_api_key, self.kataven_api_key)
        return tuple(key.get_secret_value() for key in keys if key is not None)


def load_settings(env_file: str | None = ".env", **overrides: object) -> Settings:
    """Read the settings and have their secrets redacted from now on.

    Args:
        env_file: a ``.env`` file; environment variables win over it. A missing file is not an error.
        overrides: field values that win over both; for tests and the command line.

    Raises:
        SettingsError: a value is wrong; the message names every wrong variable and what is expected of it.
    """
    try:
        settings = Settings(_env_file=env_file, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}" for fault in error.errors())
        msg = f"wrong setting: {faults}. Set it in the environment or in .env (see .env.example)."
        raise SettingsError(msg) from None
    for secret in settings.secrets:
        remember_secret(secret)
    for url in (settings.archive_root, *(settings.kataven_sessions or "").split(",")):
        remember_password(url.strip())
    for name in STORAGE_SECRETS:
        remember_secret(os.environ.get(name))
    return settings
