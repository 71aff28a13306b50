"""What a segmenter is, and what those share that judge the pixels of a picture.

All lengths and areas are physical; pixels appear only after the picture's own resolution is known.
"""

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import ClassVar, Protocol

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.core.checks import check_not_negative, check_positive
from slidenet.core.errors import EmptyTissueError
from slidenet.core.provenance import Identity
from slidenet.slides import FLUORESCENCE, Slide, illumination_of, mark_places
from slidenet.tissue.finding import Finding, Reason
from slidenet.tissue.masks import clean_reasons, overview


class Segmenter(Protocol):
    """Frozen settings with a way to find tissue."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def find(self, slide: Slide) -> Finding | BoolArray:
        """What is tissue, over the whole slide: a `Finding`, or its mask alone, bool (h, w)."""

    def identity(self) -> Identity:
        """Name and settings."""


class PictureSegmenter(ABC):
    """A segmenter that judges the pixels of a low-resolution picture; base of frozen dataclasses.

    Takes the picture, leaves out what is scanner black, and cleans the mask; `tissue` is left to
    the subclass, which may override `judge` instead where it can say more.

    Attributes:
        name: Name in the registry.
        knows_dark_ground: Whether it can find bright tissue on dark ground; the others refuse
            fluorescence.
        finds_pale: Whether it can tell tissue from glass that is as white; tiles of it are then
            not dropped for being white.
        segment_mpp: Resolution of the picture, microns per pixel.
        black_level: Pixels whose brightest channel is below this are scanner black (borders,
            unscanned area), neither tissue nor part of a threshold; 0 turns this off.
        min_area_um2: Smallest piece kept.
        max_hole_um2: Largest hole filled.
    """

    name: ClassVar[str]
    knows_dark_ground: ClassVar[bool] = False
    finds_pale: ClassVar[bool] = False
    segment_mpp: float
    black_level: int
    min_area_um2: float
    max_hole_um2: float

    def __post_init__(self) -> None:
        """Numbers are finite and at least 0, the resolution is above it.

        Raises:
            ConfigError: Naming the setting.
        """
        check_positive(segment_mpp=self.segment_mpp)
        for field in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            if type(field.default) in (int, float):
                check_not_negative(**{field.name: getattr(self, field.name)})

    @abstractmethod
    def tissue(self, image: UInt8Array, lit: BoolArray, mpp: float, slide: str) -> BoolArray:
        """Which pixels are tissue, before black is left out and the mask is cleaned.

        Args:
            image: uint8 RGB (h, w, 3).
            lit: bool (h, w), False where the picture is scanner black.
            mpp: Resolution of the picture, microns per pixel.
            slide: Name of the slide, for messages.

        Raises:
            EmptyTissueError: Nothing passes for tissue.
        """

    def find(self, slide: Slide) -> Finding:
        """What is tissue, and why the rest is none.

        Raises:
            EmptyTissueError: Nothing passes for tissue, or the slide is fluorescence.
        """
        image, mpp = overview(slide, self.segment_mpp)
        if not self.knows_dark_ground:
            light = illumination_of(slide, image)
            if light.kind == FLUORESCENCE:
                raise EmptyTissueError(
                    f"it is {light}: the segmenter {self.name!r} would take "
                    "its dark background for tissue",
                    expected="a brightfield slide",
                    remedy="take --segmenter optical_density, which knows dark ground, with an "
                    "output folder of its own, or draw the tissue in QuPath and pass its GeoJSON "
                    "as --tissue-geojson; tile encoders have seen brightfield only",
                    slide=slide.path.name,
                )
        readable = ~mark_places(slide.unreadable_places, (image.shape[1], image.shape[0]))
        return self.judge(image, mpp, slide=slide.path.name, readable=readable)

    def judge(
        self,
        image: UInt8Array,
        mpp: float,
        *,
        slide: str = "",
        readable: BoolArray | bool = True,
    ) -> Finding:
        """What of an RGB picture uint8 (h, w, 3) at `mpp` is tissue, and why the rest is none.

        Places of the picture that are not `readable`, bool (h, w), are treated as scanner black
        is, and no tissue even where they would be filled as holes of it.
        """
        black = (image.max(axis=2) < self.black_level).astype(np.uint8)
        # With a rim of one pixel, where resampling mixed black with its surroundings.
        lit = np.asarray(cv2.dilate(black, np.ones((3, 3), np.uint8))) == 0
        lit &= readable
        reasons = clean_reasons(
            lit & self.tissue(image, lit, mpp, slide),
            pixel_area_um2=mpp * mpp,
            min_area_um2=self.min_area_um2,
            max_hole_um2=self.max_hole_um2,
        )
        reasons[~lit & (reasons != Reason.TISSUE)] = Reason.BLACK
        reasons[~np.broadcast_to(readable, reasons.shape)] = Reason.UNREADABLE
        return Finding(reasons == Reason.TISSUE, reasons)

    def mask(
        self,
        image: UInt8Array,
        mpp: float,
        *,
        slide: str = "",
        readable: BoolArray | bool = True,
    ) -> BoolArray:
        """The mask alone of what `judge` finds, bool (h, w)."""
        return self.judge(image, mpp, slide=slide, readable=readable).mask

    def identity(self) -> Identity:
        """Name and settings."""
        return {"segmenter": self.name, **vars(self)}
