"""What a file says about itself, in openslide's names, where openslide cannot open it."""

from slidenet.slides.readers.tiled.layout import APERIO, TiledLayout
from slidenet.slides.resolution import mpp_from_tiff_tags

_UNITS = {1: "none", 2: "inch", 3: "centimeter"}


def properties_of(layout: TiledLayout) -> dict[str, str]:
    """Vendor, description and resolution of level 0, as openslide would name them."""
    page = layout.levels[0]
    found = {"openslide.vendor": layout.vendor}
    texts = (
        ("ImageDescription", layout.description),
        ("Make", page.make),
        ("Software", page.software),
    )
    found |= {f"tiff.{name}": text for name, text in texts if text}
    if layout.description:
        found["openslide.comment"] = layout.description
    if page.resolution is not None:
        unit = _UNITS.get(page.resolution_unit, "unknown")
        found["tiff.ResolutionUnit"] = unit
        for axis, resolution in zip("XY", page.resolution, strict=True):
            found[f"tiff.{axis}Resolution"] = repr(resolution)
            mpp = mpp_from_tiff_tags(resolution, unit)
            if mpp is not None and layout.vendor != APERIO:
                found[f"openslide.mpp-{axis.lower()}"] = repr(mpp)
    if layout.vendor == APERIO:
        found |= _of_aperio(layout.description)
    return found


def _of_aperio(description: str) -> dict[str, str]:
    """Fields of an Aperio description: "... |AppMag = 20|MPP = 0.4990"."""
    found = {}
    for field in description.split("|")[1:]:
        name, equals, value = field.partition("=")
        if equals:
            found[f"aperio.{name.strip()}"] = value.strip()
    if "aperio.MPP" in found:
        found["openslide.mpp-x"] = found["openslide.mpp-y"] = found["aperio.MPP"]
    if "aperio.AppMag" in found:
        found["openslide.objective-power"] = found["aperio.AppMag"]
    return found
