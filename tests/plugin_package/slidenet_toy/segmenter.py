"""A segmenter: what is dark is tissue."""

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from slidenet.slides import Slide


@dataclass(frozen=True)
class DarkSegmenter:
    """Tissue is what is darker than a fixed grey level."""

    name: ClassVar[str] = "toy_dark"
    grey_level: int = 200

    def find(self, slide: Slide) -> np.ndarray:
        """Mask over the whole slide, bool (h, w)."""
        return slide.thumbnail(256).mean(axis=2) < self.grey_level

    def identity(self) -> dict:
        """Name and settings."""
        return {"segmenter": self.name, **asdict(self)}
