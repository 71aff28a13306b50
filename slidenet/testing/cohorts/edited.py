"""Files of ours with another content, as if they had been written so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py

from slidenet.stores.h5 import schema
from slidenet.stores.h5.digests import digest_of, write_digests


@contextmanager
def edited(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Opens an h5 file of ours for changes; afterwards its digests are those of what it holds.

    Args:
        path: The file. One without digests gets none.
    """
    with h5py.File(path, "r+") as h5:
        yield h5
        attributes = h5[schema.GROUP].attrs
        if schema.DIGESTS in attributes:
            del attributes[schema.DIGESTS]
            write_digests(h5, {n: digest_of(h5[n]) for n in schema.ALL_DATASETS if n in h5})
