"""Presigned URLs as S3 makes them (Signature Version 4), truly signed and truly checked.

One departure from S3: a URL that was signed for GET is good for HEAD too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlencode

ALGORITHM = "AWS4-HMAC-SHA256"
REGION = "us-east-1"
SERVICE = "s3"
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_PAYLOAD = "UNSIGNED-PAYLOAD"
_SIGNED_HEADERS = "host"

P_ALGORITHM = "X-Amz-Algorithm"
P_CREDENTIAL = "X-Amz-Credential"
P_DATE = "X-Amz-Date"
P_EXPIRES = "X-Amz-Expires"
P_SIGNED_HEADERS = "X-Amz-SignedHeaders"
P_SIGNATURE = "X-Amz-Signature"


class Verdict(Enum):
    """What the media host thinks of a URL."""

    GOOD = auto()
    MISSING = auto()
    EXPIRED = auto()
    WRONG = auto()


class Signer:
    """Signs and checks URLs with one key pair, and remembers every signature that it made."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.issued: list[str] = []

    def presign(self, origin: str, path: str, *, now: datetime, lifetime: int) -> str:
        """Return ``origin`` + ``path`` with a signature that lapses ``lifetime`` seconds after ``now``."""
        moment = now.astimezone(UTC).strftime(_TIME_FORMAT)
        query = [
            (P_ALGORITHM, ALGORITHM),
            (P_CREDENTIAL, f"{self.access_key}/{moment[:8]}/{REGION}/{SERVICE}/aws4_request"),
            (P_DATE, moment),
            (P_EXPIRES, str(lifetime)),
            (P_SIGNED_HEADERS, _SIGNED_HEADERS),
        ]
        signature = self._signature(origin.split("://", 1)[1], path, query)
        self.issued.append(signature)
        return f"{origin}{quote(path)}?{_canonical_query(query)}&{P_SIGNATURE}={signature}"

    def verdict(self, host: str, path: str, query_string: str, *, now: datetime) -> Verdict:
        """Judge a request: the ``Host`` header, the decoded path and the raw query that it came with."""
        query = parse_qsl(query_string, keep_blank_values=True)
        fields = dict(query)
        if not {P_ALGORITHM, P_CREDENTIAL, P_DATE, P_EXPIRES, P_SIGNED_HEADERS, P_SIGNATURE} <= fields.keys():
            return Verdict.MISSING
        try:
            lapses_at = lapse(fields[P_DATE], fields[P_EXPIRES])
        except ValueError:
            return Verdict.MISSING
        if now >= lapses_at:
            return Verdict.EXPIRED
        expected = self._signature(host, path, [pair for pair in query if pair[0] != P_SIGNATURE])
        return Verdict.GOOD if hmac.compare_digest(expected, fields[P_SIGNATURE]) else Verdict.WRONG

    def _signature(self, host: str, path: str, query: Sequence[tuple[str, str]]) -> str:
        fields = dict(query)
        moment = fields[P_DATE]
        scope = fields[P_CREDENTIAL].partition("/")[2]
        request = "\n".join(("GET", quote(path), _canonical_query(query), f"host:{host}\n", _SIGNED_HEADERS, _PAYLOAD))
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"{ALGORITHM}\n{moment}\n{scope}\n{digest}"
        key = _signing_key(self.secret_key, moment[:8])
        return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def lapse(moment: str, expires: str) -> datetime:
    """Return when a URL with these ``X-Amz-Date`` and ``X-Amz-Expires`` lapses.

    Raises:
        ValueError: one of them is malformed.
    """
    return datetime.strptime(moment, _TIME_FORMAT).replace(tzinfo=UTC) + timedelta(seconds=int(expires))


def _canonical_query(query: Sequence[tuple[str, str]]) -> str:
    return urlencode(sorted(query), quote_via=quote, safe="-_.~")


@lru_cache(maxsize=16)
def _signing_key(secret_key: str, day: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, REGION, SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
