import math

import pytest

from slidenet.core.errors import MissingMppError
from slidenet.slides.resolution import mpp_from_tiff_tags, resolve_mpp


def properties(x, y=None):
    return {"openslide.mpp-x": x, "openslide.mpp-y": x if y is None else y}


@pytest.mark.parametrize(
    ("given", "override", "vendor", "value", "source"),
    [
        (properties("0.499"), None, "aperio", 0.499, "vendor property openslide.mpp-x"),
        (properties("0.68999999999999995"), None, "generic-tiff", 0.69, "TIFF resolution tags"),
        (properties("0.5"), None, "tiff", 0.5, "TIFF resolution tags"),
        (properties("0.499"), 0.25, "aperio", 0.25, "override"),
        ({}, 0.25, "aperio", 0.25, "override"),
        (properties("352.8"), 0.5, "generic-tiff", 0.5, "override"),
        (properties("0.05"), None, "aperio", 0.05, "vendor property openslide.mpp-x"),
        (properties("50"), None, "aperio", 50.0, "vendor property openslide.mpp-x"),
        (properties("0.50", "0.52"), None, "aperio", math.sqrt(0.26), "vendor property "),
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
        (properties("0.50", "0.53"), None, "0.5 in x and 0.53 in y"),
        ({"openslide.mpp-x": "0.5"}, None, "are nan"),
        (properties("0.5"), 0.0, "are 0 (override)"),
        (properties("0.5"), 100.0, "are 100 (override)"),
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
