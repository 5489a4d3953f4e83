"""S3: one set of credentials for its clients.

Credentials, region and endpoint come from where every AWS tool looks: ``AWS_*`` variables, ``AWS_PROFILE``, ``~/.aws``, the
container's or instance's role. botocore finds them once, and s3fs, obstore and the uploader in
:mod:`resources.storage.multipart` are told the result, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

import botocore.config
import botocore.exceptions
import botocore.session
from obstore.store import S3Store

from resources.errors import SettingsError
from resources.known_secrets import remember_secret
from resources.storage.multipart import S3Client
from resources.storage.object_store import RETRIES

if TYPE_CHECKING:  # obstore has these in its stubs only
    from obstore.store import ClientConfig, S3Config, S3Credential

DEFAULT_REGION = "us-east-1"
_CREDENTIAL_MINUTES = 10  # how long obstore uses an answer before it asks botocore again, which refreshes in time by itself
_CONNECTIONS = 32


class _Frozen(Protocol):
    access_key: str
    secret_key: str
    token: str | None


class _Credentials(Protocol):
    def get_frozen_credentials(self) -> _Frozen: ...


class _Session(Protocol):
    def get_credentials(self) -> _Credentials | None: ...

    def get_config_variable(self, name: str) -> object: ...

    def create_client(self, service_name: str, region_name: str | None, *, config: object) -> S3Client: ...


@dataclass(frozen=True, slots=True)
class S3Access:
    """How this machine reaches S3.

    Attributes:
        region: for the signature.
        endpoint: another service than AWS, asked with the bucket in the path; None for AWS.
        authorities: PEM text of the certificate authorities to trust besides the usual (``AWS_CA_BUNDLE``), or None.
    """

    credentials: _Credentials
    client: S3Client
    region: str
    endpoint: str | None
    authorities: bytes | None

    def store(self, bucket: str, prefix: str) -> S3Store:
        """Return obstore's store for a prefix of a bucket."""
        config: S3Config = {"region": self.region, "virtual_hosted_style_request": self.endpoint is None}
        options: ClientConfig = {}
        if self.endpoint is not None:
            # Not "endpoint": obstore lets the variable AWS_ENDPOINT_URL_S3 win over that one.
            config["aws_endpoint_url_s3"] = self.endpoint
            options["allow_http"] = self.endpoint.startswith("http://")
        if self.authorities is not None:
            options["root_certificate"] = self.authorities
        return S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options=options,
            retry_config={"max_retries": RETRIES},
            credential_provider=self._credential,
        )

    def _credential(self) -> S3Credential:
        frozen = self.credentials.get_frozen_credentials()
        for secret in (frozen.secret_key, frozen.token):  # from a profile or a role: no variable of the environment holds them
            remember_secret(secret)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(tz=UTC) + timedelta(minutes=_CREDENTIAL_MINUTES),
        }

    def filesystem_options(self) -> dict[str, object]:
        """Return the arguments that make s3fs reach the same service."""
        options: dict[str, object] = {"client_kwargs": {"region_name": self.region}}
        if self.endpoint is not None:
            options["endpoint_url"] = self.endpoint
            options["config_kwargs"] = _dialect(self.endpoint)
        return options


def _dialect(endpoint: str | None) -> dict[str, object]:
    """Return botocore's settings for AWS (None) or for another service."""
    if endpoint is None:
        return {}
    return {
        "s3": {"addressing_style": "path"},
        # Services other than AWS stumble over the checksum trailers that botocore adds by default.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def find_access() -> S3Access:
    """Find credentials, region and endpoint in the standard places.

    Raises:
        SettingsError: there are no credentials, or the profile or endpoint is wrong.
    """
    session = cast("_Session", botocore.session.get_session())
    try:
        credentials = session.get_credentials()
        region = str(session.get_config_variable("region") or DEFAULT_REGION)
        plain = session.create_client("s3", region, config=_config(None))
        endpoint = None if _is_aws(plain.meta.endpoint_url) else plain.meta.endpoint_url
        client = plain if endpoint is None else session.create_client("s3", region, config=_config(endpoint))
        bundle = session.get_config_variable("ca_bundle")
        authorities = Path(str(bundle)).read_bytes() if bundle else None
    except (botocore.exceptions.BotoCoreError, ValueError, OSError) as error:
        remedy = "Check AWS_PROFILE, AWS_ENDPOINT_URL and ~/.aws."
        msg = f"ARCHIVE_ROOT is on S3, but the AWS settings cannot be used: {error}. {remedy}"
        raise SettingsError(msg) from None
    if credentials is None:
        msg = (
            "ARCHIVE_ROOT is on S3, but there are no AWS credentials. "
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
        raise SettingsError(msg)
    return S3Access(credentials, client, region, endpoint, authorities)


def _config(endpoint: str | None) -> object:
    return botocore.config.Config(max_pool_connections=_CONNECTIONS, **_dialect(endpoint))
