"""Floor 2: the files slidenet reads and writes, and the manifest of a cohort."""

from slidenet.stores.atomic import atomic_path, check_output_folder
from slidenet.stores.csv_table import CsvRow, CsvTable, csv_lines, read_csv_table
from slidenet.stores.embeddings import (
    SlideEmbedding,
    read_slide_embedding,
    read_slide_embeddings,
    write_slide_embedding,
)
from slidenet.stores.features.file import FeatureArrays, FeatureFile
from slidenet.stores.features.memory import SMALL_COHORT_BYTES, FeatureMemory
from slidenet.stores.features.opening import FEATURE_SUFFIXES, open_features, read_features
from slidenet.stores.features.part import part_of, whole_of
from slidenet.stores.features.writer import FeatureWriter, disk_needed
from slidenet.stores.h5.identity import existing_output, identity_of
from slidenet.stores.h5.validate import validate_file
from slidenet.stores.manifest import SLIDE_COLUMNS, read_manifest, slide_rows
from slidenet.stores.tile_maps import TileMap, TileMaps, read_tile_maps, write_tile_maps
from slidenet.stores.tiles import (
    TilesOrigin,
    read_tile_set,
    tiles_origin,
    write_tile_set,
)

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "CsvRow",
    "CsvTable",
    "FEATURE_SUFFIXES",
    "FeatureArrays",
    "FeatureFile",
    "FeatureMemory",
    "FeatureWriter",
    "SLIDE_COLUMNS",
    "SMALL_COHORT_BYTES",
    "SlideEmbedding",
    "TileMap",
    "TileMaps",
    "TilesOrigin",
    "atomic_path",
    "check_output_folder",
    "csv_lines",
    "disk_needed",
    "existing_output",
    "identity_of",
    "open_features",
    "part_of",
    "read_csv_table",
    "read_features",
    "read_manifest",
    "read_slide_embedding",
    "read_slide_embeddings",
    "read_tile_maps",
    "read_tile_set",
    "slide_rows",
    "tiles_origin",
    "validate_file",
    "whole_of",
    "write_slide_embedding",
    "write_tile_maps",
    "write_tile_set",
]
