"""The slides of a cohort: a table, a folder, one slide; and what may be a `slide_id`."""

from slidenet.stores.manifest.reading import read_manifest
from slidenet.stores.manifest.rows import SLIDE_COLUMNS, slide_rows

__all__ = ["SLIDE_COLUMNS", "read_manifest", "slide_rows"]
