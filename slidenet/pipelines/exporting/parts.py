"""Which tiles of a slide are exported together: all, or those of a drawn region."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.errors import ConfigError, SlideError, StoreError
from slidenet.core.records import TileRegions, TileSet
from slidenet.core.text import name_some
from slidenet.pipelines.settings import ExportTilesSettings
from slidenet.stores.manifest.slide_ids import name_for_file


@dataclass(frozen=True, eq=False)
class Part:
    """Tiles of a slide that go together.

    Attributes:
        name: Of their region; "" where regions do not part them.
        folder: Where the folder or the shards of the slide go.
        rows: int64 (N,), which tiles of the tile set.
    """

    name: str
    folder: Path
    rows: IntArray


def parts_of(
    tile_set: TileSet, settings: ExportTilesSettings, folder: Path, source: Path
) -> Iterator[Part]:
    """The tiles that go together.

    Args:
        tile_set: All of a slide.
        settings: Which are asked for.
        folder: Where tiles are written.
        source: The file of the tile set, for messages.

    Raises:
        StoreError: Regions were asked for, and none are recorded.
        SlideError: No tile lies in a region that was asked for.
    """
    asked, regions = settings.region_classes, tile_set.regions
    if asked is None and not settings.by_region:
        yield Part("", folder, np.arange(tile_set.num_tiles))
        return
    if regions is None:
        raise StoreError(
            f"{source} does not say in which drawn regions its tiles lie",
            expected="tiles made with --regions",
            remedy="run `slidenet preprocess --overwrite --regions FOLDER`, or leave out "
            "--region-classes and --by-region",
            slide=tile_set.slide_id,
        )
    names = regions.names if asked is None else tuple(asked)
    rows = {name: rows_in(regions, name) for name in names}
    if not any(len(found) for found in rows.values()):
        raise SlideError(
            f"no tile lies in {name_some(names)}",
            expected=f"some of the regions of this slide: {name_some(regions.names, most=10)}",
            remedy="correct --region-classes",
            slide=tile_set.slide_id,
        )
    if not settings.by_region:
        yield Part("", folder, np.sort(np.concatenate(list(rows.values()))))
        return
    folders = _folder_names([name for name, found in rows.items() if len(found)])
    for name, own in folders.items():
        yield Part(name, folder / own, rows[name])


def rows_in(regions: TileRegions, name: str) -> IntArray:
    """Which tiles lie in the region of a name; none where there is no such region."""
    if name not in regions.names:
        return np.empty(0, np.int64)
    return np.flatnonzero(regions.index == regions.names.index(name))


def _folder_names(regions: Sequence[str]) -> dict[str, str]:
    """Names of regions as names of folders on any disk: `Tumor: Necrosis` is `Tumor_ Necrosis`.

    Raises:
        ConfigError: Two become the same.
    """
    names: dict[str, str] = {}
    for region in regions:
        name = name_for_file(region)
        same = [other for other, there in names.items() if there.casefold() == name.casefold()]
        if same:
            raise ConfigError(
                f"the regions {same[0]!r} and {region!r} would share the folder {name!r}",
                expected="names that differ in letters and digits",
                remedy="export them one at a time with --region-classes, or leave out --by-region",
            )
        names[region] = name
    return names
