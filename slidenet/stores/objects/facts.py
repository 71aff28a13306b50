"""What a store says of an object."""

import hashlib
from dataclasses import dataclass

from slidenet.stores.objects.uri import named_uri

_MOST_LETTERS = 128


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a store says of an object without handing it out.

    Attributes:
        uri: Its address, as it was given.
        size: Bytes.
        version: What the store changes with the content (etag, generation, time of the last
            change); "" where it says nothing of the kind, so that nobody can tell whether two
            copies are of the same object. It is no digest of the content.
    """

    uri: str
    size: int
    version: str

    @property
    def digest(self) -> str:
        """Names this object in this version, in 32 hex digits; without rights."""
        text = f"{named_uri(self.uri)}\n{self.size}\n{self.version}"
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def as_version(*said: object) -> str:
    """What a store said, as a version: printable and short.

    Args:
        said: Etag, generation or times; those that are None or "" do not count.
    """
    text = " ".join(str(one) for one in said if one not in (None, "")).strip()
    if text.isprintable() and len(text) <= _MOST_LETTERS:
        return text
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()
