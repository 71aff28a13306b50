"""Maps as SpatialData (Marconato et al. 2025, Nature Methods), where that package is installed.

No extra of slidenet brings it: what it needs contradicts versions that slidenet is tested with.
"""

from typing import TYPE_CHECKING

import numpy as np
import shapely

from slidenet.core.arrays import FeatureRows, UInt8Array
from slidenet.core.errors import CoordinateError
from slidenet.core.extras import require_extra
from slidenet.explanation.exports.anndata import as_anndata
from slidenet.explanation.exports.columns import require_places
from slidenet.stores.tile_maps import TileMaps

if TYPE_CHECKING:
    import spatialdata

REGION, INSTANCE = "region", "tile"
SYSTEM = "level0"


def as_spatialdata(
    maps: TileMaps, *, features: FeatureRows | None = None, overview: UInt8Array | None = None
) -> "spatialdata.SpatialData":
    """The maps of one slide as shapes with a table, in level-0 pixels.

    `shapes["tiles"]` are the squares of the tiles, `tables["maps"]` is `as_anndata` with a row per
    square, `images["overview"]` the slide where its overview is given. All of them lie in the
    coordinate system "level0".

    Raises:
        CoordinateError: It is not known where the tiles lie, there are none, or another number of
            features.
        MissingExtraError: spatialdata is not installed.
    """
    purpose = "a SpatialData of tile maps"
    library = require_extra("spatialdata", extra=None, purpose=purpose)
    models = require_extra("spatialdata.models", extra=None, purpose=purpose)
    places = require_extra("spatialdata.transformations", extra=None, purpose=purpose)
    geopandas = require_extra("geopandas", extra=None, purpose=purpose)
    require_places(maps, "SpatialData")
    if not len(maps.coords):
        raise CoordinateError(
            "no tiles", expected="tiles, since shapes may not be empty", slide=maps.slide_id
        )
    side = maps.geometry.tile_size_px * maps.geometry.scale
    x, y = maps.coords.astype(np.float64).T
    squares = geopandas.GeoDataFrame(
        {"geometry": shapely.box(x, y, x + side, y + side)}, index=np.arange(len(maps.coords))
    )
    table = as_anndata(maps, features=features)
    table.obs[REGION] = "tiles"
    table.obs[REGION] = table.obs[REGION].astype("category")
    images = {}
    if overview is not None:
        scale = places.Scale(
            [
                maps.geometry.level0_width / overview.shape[1],
                maps.geometry.level0_height / overview.shape[0],
            ],
            axes=("x", "y"),
        )
        images["overview"] = models.Image2DModel.parse(
            np.moveaxis(overview, 2, 0), dims=("c", "y", "x"), transformations={SYSTEM: scale}
        )
    return library.SpatialData(
        images=images,
        shapes={
            "tiles": models.ShapesModel.parse(squares, transformations={SYSTEM: places.Identity()})
        },
        tables={
            "maps": models.TableModel.parse(
                table, region="tiles", region_key=REGION, instance_key=INSTANCE
            )
        },
    )
