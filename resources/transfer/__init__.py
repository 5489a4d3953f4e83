"""The media transfer: bytes from a presigned URL, checked before, while and after they flow."""

from resources.transfer.addresses import AddressPolicy
from resources.transfer.answers import MEDIA_ANSWERS
from resources.transfer.body import MediaBody, MediaFacts
from resources.transfer.limits import MediaLimits
from resources.transfer.media import MediaClient
from resources.transfer.signature import Container, detect

__all__ = [
    "MEDIA_ANSWERS",
    "AddressPolicy",
    "Container",
    "MediaBody",
    "MediaClient",
    "MediaFacts",
    "MediaLimits",
    "detect",
]
