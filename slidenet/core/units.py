"""Units carried in names and types, so that a micron is never mistaken for a pixel.

A `NewType` costs nothing at run time; the type checker refuses a plain float where a unit is
expected, which is where resolution bugs start.
"""

from typing import NewType

Mpp = NewType("Mpp", float)
"""Microns per pixel."""

Microns = NewType("Microns", float)
"""A physical length on the slide, in microns."""

NATIVE_MAGNIFICATION_MPP = 10.0
"""Objective power times microns per pixel, by convention: 20x is 0.5 mpp, 40x is 0.25 mpp."""


def magnification(mpp: Mpp) -> float:
    """Nominal objective power of a resolution: 0.5 mpp -> 20.0."""
    return NATIVE_MAGNIFICATION_MPP / mpp
