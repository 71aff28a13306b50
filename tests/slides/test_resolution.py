import math

import pytest

from slidenet.core.errors import MissingMppError
from slidenet.slides.resolution import mpp_from_tiff_tags, resolution_notes, resolve_mpp


def properties(x, y=None):
    return {"openslide.mpp-x": x, "openslide.mpp-y": x if y is None else y}


def tags(mpp, unit="centimeter"):
    resolution = {"inch": 25400, "centimeter": 10000}[unit] / float(mpp)
    found = {f"tiff.{axis}Resolution": repr(resolution) for axis in "XY"}
    return properties(repr(float(mpp))) | found | {"tiff.ResolutionUnit": unit}


def ome(x, unit="µm", y=None):
    sizes = "".join(
        f' PhysicalSize{axis}="{value}" PhysicalSize{axis}Unit="{unit}"'
        for axis, value in (("X", x), ("Y", x if y is None else y))
    )
    pixels = f'<Pixels SizeX="9" SizeY="9" SizeC="3" Type="uint8"{sizes}/>'
    return {"tiff.ImageDescription": f'<OME xmlns="x"><Image ID="0">{pixels}</Image></OME>'}


def set_of_files(here, elsewhere):
    """OME-XML of two images, the larger of which lies in another file."""
    images = [
        f'<Image><Pixels SizeX="{side}" SizeY="{side}" PhysicalSizeX="{mpp}" PhysicalSizeY="{mpp}">'
        f'<TiffData IFD="0"><UUID FileName="{uuid}.tif">{uuid}</UUID></TiffData></Pixels></Image>'
        for side, mpp, uuid in ((900, elsewhere, "b"), (9, here, "a"))
    ]
    return {"tiff.ImageDescription": f'<OME xmlns="x" UUID="a">{"".join(images)}</OME>'}


@pytest.mark.parametrize(
    ("given", "override", "vendor", "value", "source"),
    [
        (properties("0.499"), None, "aperio", 0.499, "vendor property openslide.mpp-x"),
        (properties("0.68999999999999995"), None, "generic-tiff", 0.69, "TIFF resolution tags"),
        (properties("0.5"), None, "tiff", 0.5, "TIFF resolution tags"),
        (properties("0.499"), 0.25, "aperio", 0.25, "override"),
        ({}, 0.25, "aperio", 0.25, "override"),
        (properties("352.8"), 0.5, "generic-tiff", 0.5, "override"),
        (properties("0.50", "0.53"), (0.5, 0.5), "aperio", 0.5, "override"),
        ({}, (0.5, 0.504), "aperio", math.sqrt(0.252), "override"),
        (tags("0.5", unit="inch"), None, "generic-tiff", 0.5, "TIFF resolution tags"),
        (tags("4"), None, "generic-tiff", 4.0, "TIFF resolution tags"),
        (ome("0.5"), None, "generic-tiff", 0.5, "OME PhysicalSize"),
        (ome("500", "nm") | properties("1.0"), None, "generic-tiff", 0.5, "OME PhysicalSize"),
        (ome("0.0005", "mm"), None, "generic-tiff", 0.5, "OME PhysicalSize"),
        (ome("2", "pixel") | properties("0.5"), None, "generic-tiff", 0.5, "TIFF resolution tags"),
        (set_of_files("0.5", elsewhere="0.25"), None, "generic-tiff", 0.5, "OME PhysicalSize"),
        (properties("0.05"), None, "aperio", 0.05, "vendor property openslide.mpp-x"),
        (properties("50"), None, "aperio", 50.0, "vendor property openslide.mpp-x"),
        (properties("0.50", "0.504"), None, "aperio", math.sqrt(0.252), "vendor property "),
    ],
)
def test_resolution_and_source(given, override, vendor, value, source):
    mpp = resolve_mpp(given, override, vendor=vendor, slide="s")
    assert mpp.value == value
    assert mpp.source.startswith(source)


@pytest.mark.parametrize(
    ("given", "override", "says"),
    [
        ({}, None, "does not say"),
        ({"openslide.objective-power": "20"}, None, "does not say"),
        (properties("0"), None, "are 0 "),
        (properties("-0.5"), None, "are -0.5"),
        (properties("nan"), None, "are nan"),
        (properties("inf"), None, "are inf"),
        (properties("half a micron"), None, "are nan"),
        (properties("352.77777"), None, "352.778 (TIFF resolution tags)"),
        (properties("0.04"), None, "expected a number from 0.05 to 50"),
        (tags(25400 / 72), None, "352.778 (TIFF resolution tags), which is 72 dpi"),
        (
            {"tiff.ImageDescription": ome("1")["tiff.ImageDescription"].replace("SizeY", "SizeZ")},
            None,
            "said of one axis only",
        ),
        (tags(25400 / 600), None, "which is 600 dpi, how to print it"),
        (tags(25400 / 1200), None, "which is 1200 dpi, how to print it"),
        (tags(25400 / 4800, unit="inch"), None, "which is 4800 dpi"),
        (tags(1e4 / 1889.76), None, "which is 4800 dpi"),
        (tags(25400 / 9600), None, "which is 9600 dpi"),
        (ome("3", "furlong"), None, "unit 'furlong', which is no length"),
        ({"openslide.mpp-x": "0.5"}, None, "are nan"),
        (properties("0.5"), 0.0, "are 0 (given by you)"),
        (properties("0.5"), 100.0, "are 100 (given by you)"),
    ],
)
def test_no_resolution_is_guessed(given, override, says):
    with pytest.raises(MissingMppError) as caught:
        resolve_mpp(given, override, vendor="generic-tiff", slide="case-7")
    message = str(caught.value)
    assert says in message
    assert "manifest column `mpp`" in message
    assert "case-7" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("given", "declared", "says"),
    [
        (properties("0.50", "0.51"), None, "0.5 in x and 0.51 in y (from TIFF resolution tags)"),
        (properties("0.50", "0.55"), 0.5, "0.5 in x and 0.55 in y"),  # one number is no answer
        (ome("0.5", y="0.6"), None, "0.5 in x and 0.6 in y (from OME PhysicalSize)"),
        ({}, (0.5, 0.6), "0.5 in x and 0.6 in y (given by you)"),
    ],
)
def test_pixels_that_are_not_square_are_refused_with_both_numbers(given, declared, says):
    with pytest.raises(MissingMppError) as caught:
        resolve_mpp(given, declared, vendor="generic-tiff", slide="case-7")
    assert says in str(caught.value)
    assert ("`mpp_x` and `mpp_y`" in str(caught.value)) == (not isinstance(declared, tuple))


@pytest.mark.parametrize(
    ("given", "vendor", "declared", "says"),
    [
        (properties("0.25") | {"openslide.objective-power": "40"}, "aperio", None, []),
        (properties("0.55") | {"openslide.objective-power": "20"}, "aperio", None, []),
        (properties("1.0") | {"openslide.objective-power": "40"}, "aperio", None,
         ["power 40x: about 0.25 mpp, but 1 mpp from vendor property"]),
        (ome("0.5") | tags("1.0"), "generic-tiff", None,
         ["TIFF resolution tags: 1 mpp, but 0.5 mpp from OME PhysicalSize"]),
        (ome("0.5") | tags(25400 / 300), "generic-tiff", None, []),
        (tags("1.0") | properties("0.5"), "aperio", None, ["TIFF resolution tags: 1 mpp"]),
        (properties("0.5"), "aperio", 0.25, ["mpp-x: 0.5 mpp, but 0.25 mpp given by you"]),
        ({}, "aperio", 0.25, []),
    ],
)  # fmt: skip
def test_contradicting_sources_are_told(given, vendor, declared, says):
    chosen = resolve_mpp(given, declared, vendor=vendor, slide="s")
    notes = resolution_notes(given, chosen, vendor=vendor)
    assert len(notes) == len(says)
    assert all(words in note for words, note in zip(says, notes, strict=True))


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [
        (20000, "centimeter", 0.5),
        (50800, "inch", 0.5),
        (72, "inch", 25400 / 72),
        (20000, "none", None),
        (20000, "unknown", None),
        (0, "inch", None),
        (math.nan, "inch", None),
    ],
)
def test_tiff_tags(resolution, unit, mpp):
    assert mpp_from_tiff_tags(resolution, unit) == mpp
