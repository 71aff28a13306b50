"""Maps in the formats of other programs: QuPath, tables, AnnData, OME-TIFF."""

from slidenet.explanation.exports.anndata import as_anndata, write_anndata
from slidenet.explanation.exports.columns import map_names
from slidenet.explanation.exports.geojson import write_tile_geojson
from slidenet.explanation.exports.ome_tiff import write_ome_tiff, write_value_tiff
from slidenet.explanation.exports.spatialdata import as_spatialdata
from slidenet.explanation.exports.tables import tile_probabilities, write_tile_table

__all__ = [
    "as_anndata",
    "as_spatialdata",
    "map_names",
    "tile_probabilities",
    "write_anndata",
    "write_ome_tiff",
    "write_tile_geojson",
    "write_tile_table",
    "write_value_tiff",
]
