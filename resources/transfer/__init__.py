"""The media transfer: bytes from a presigned URL, checked before, while and after they flow."""

from resources.transfer.addresses import AddressPolicy
from resources.transfer.answers import MEDIA_ANSWERS
from resources.transfer.media import MediaBody, MediaClient, MediaFacts, MediaLimits
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
