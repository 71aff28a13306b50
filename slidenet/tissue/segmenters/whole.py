"""Everything is tissue: for crops, and where nothing is to be left out."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.core.provenance import Identity
from slidenet.slides import Slide


@dataclass(frozen=True)
class AllSegmenter:
    """The whole slide counts as tissue, but for what cannot be read; needs no mpp."""

    name: ClassVar[str] = "all"

    def find(self, slide: Slide) -> BoolArray:
        """One mask pixel that covers the slide."""
        return np.ones((1, 1), dtype=np.bool_)

    def identity(self) -> Identity:
        """The name; there are no settings."""
        return {"segmenter": self.name}
