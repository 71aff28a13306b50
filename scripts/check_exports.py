"""Opens what `slidenet explain` wrote for other programs with those programs' own libraries.

    python scripts/check_exports.py OUT               # an output folder of slidenet explain
    python scripts/check_exports.py [--tiles 50000]   # made here: a slide with bounds, a large one

QuPath's GeoJSON is read as QuPath reads it, and its places are held against pixels that openslide
reads; CSV by the csv module; AnnData by anndata; OME-TIFF at all levels by tifffile, and level 0 of
the picture by openslide. Every number is compared with the h5 file. Prints a line per file, and
ends with 1 where one differs.
"""

import argparse
import csv
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ENDINGS = {
    "geojson": ".geojson",
    "csv": ".csv",
    "anndata": ".h5ad",
    "ome_tiff": ".ome.tiff",
    "values": ".ome.tiff",
}
CENTRE_ROWS = 400
"""Tiles whose pixels are looked at."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--tiles", type=int, default=50_000)
    asked = parser.parse_args()
    if asked.out is not None:
        return max(map(show, checks_of(asked.out)), default=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_slide_with_bounds(folder)
        made_in = make_large(folder, asked.tiles)
        print(f"written for {asked.tiles} tiles: {made_in}")
        return max(map(show, checks_of(folder)), default=1)


def show(check: tuple[str, Callable[[], str]]) -> int:
    name, run = check
    started = time.perf_counter()
    try:
        said, failed = run(), 0
    except Exception as error:  # whatever a library finds is the result
        said, failed = f"FAILED: {type(error).__name__}: {error}", 1
    print(f"{name:44} {said} ({time.perf_counter() - started:.1f} s)", flush=True)
    return failed


def checks_of(out: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """One check per file that is there."""
    from slidenet.stores import read_tile_maps

    runs = {
        "geojson": check_qupath,
        "csv": check_table,
        "anndata": check_anndata,
        "ome_tiff": check_picture,
        "values": check_values,
    }
    root = out / "explanations"
    for path in sorted((root / "h5").glob("*.h5")):
        maps = read_tile_maps(path)
        for kind, run in runs.items():
            file = root / kind / f"{path.stem}{ENDINGS[kind]}"
            if kind == "values":
                file = root / "ome_tiff" / "more" / path.stem / "values.ome.tiff"
            if file.exists():
                yield str(file.relative_to(root)), lambda run=run, f=file, m=maps: run(f, m)


def check_qupath(file: Path, maps) -> str:
    from slidenet.explanation.exports import map_names
    from slidenet.testing.qupath_file import read_qupath_file

    said, objects = read_qupath_file(file)
    left, top = said.get("origin", (0, 0))
    places = np.array([each.box[:2] for each in objects]).reshape(-1, 2) + np.array([left, top])
    np.testing.assert_array_equal(places, maps.coords)
    for name, each in zip(map_names(maps.maps), maps.maps, strict=True):
        values = [one.measurements.get(name, np.nan) for one in objects]
        np.testing.assert_array_equal(np.array(values, np.float32), each.values)
    words = f"{len(objects)} objects, {len({each.class_name for each in objects})} classes"
    return f"{words}, frame {said['frame']}" + pixels_of(maps, objects, (left, top))


def pixels_of(maps, objects, origin: tuple[int, int]) -> str:
    """Holds what QuPath shows at an object against the slide's pixels at the tile."""
    import openslide

    path = Path(maps.slide_path)
    if not path.exists() or path.suffix != ".mrxs" or not objects:
        return ""
    with openslide.OpenSlide(path) as slide:
        names = ("x", "y", "width", "height")
        bounds = [int(slide.properties[f"openslide.bounds-{name}"]) for name in names]
        shown = np.asarray(slide.read_region(tuple(bounds[:2]), 0, tuple(bounds[2:])))
        for each, place in zip(objects[:CENTRE_ROWS], maps.coords.tolist(), strict=False):
            x, y, width, height = each.box
            tile = np.asarray(slide.read_region(tuple(place), 0, (width, height)))
            np.testing.assert_array_equal(shown[y : y + height, x : x + width], tile)
    first = objects[0].box[:2]
    return (
        f"; bounds of the slide start at {tuple(bounds[:2])}: tile 0 at {maps.coords[0].tolist()} "
        f"of level 0 is at {list(first)} in QuPath, and shows the same pixels"
    )


def check_table(file: Path, maps) -> str:
    from slidenet.explanation.exports import map_names

    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    places = [(int(row["minx"]), int(row["miny"])) for row in rows]
    np.testing.assert_array_equal(np.array(places).reshape(-1, 2), maps.coords)
    for name, each in zip(map_names(maps.maps), maps.maps, strict=True):
        values = np.array([row[name] or "nan" for row in rows], np.float32)
        np.testing.assert_array_equal(values, each.values)
    chances = [name for name in rows[0] if name.startswith("prob_")]
    return f"{len(rows)} rows, {len(rows[0])} columns; {', '.join(chances) or 'no probabilities'}"


def check_anndata(file: Path, maps) -> str:
    import anndata

    found = anndata.read_h5ad(file)
    side = maps.geometry.tile_size_px * maps.geometry.scale
    np.testing.assert_array_equal(found.obsm["spatial"], maps.coords + side / 2)
    facts = found.uns["slidenet"]["maps"]
    for (name, row), each in zip(facts.iterrows(), maps.maps, strict=True):
        assert (row["method"], row["target"]) == (each.method, each.target)
        np.testing.assert_array_equal(found.obs[name], each.values)
    return f"{found.n_obs} observations, {len(facts)} maps in obs, X {found.shape}"


def check_picture(file: Path, maps) -> str:
    import openslide
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        assert tiff.is_ome
        levels = [level.asarray() for level in tiff.series[0].levels]
    with openslide.OpenSlide(file) as slide:
        assert slide.dimensions == levels[0].shape[1::-1]
        size = (min(slide.dimensions[0], 2048), min(slide.dimensions[1], 2048))
        pixels = np.asarray(slide.read_region((0, 0), 0, size))[..., :3]
        np.testing.assert_array_equal(pixels, levels[0][: size[1], : size[0]])
        vendor = slide.properties["openslide.vendor"]
    sizes = ", ".join(f"{level.shape[1]} x {level.shape[0]}" for level in levels)
    return f"levels {sizes} by tifffile; level 0 by openslide ({vendor})"


def check_values(file: Path, maps) -> str:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        levels = [level.asarray() for level in tiff.series[0].levels]
        xml = tiff.ome_metadata
    left, top = (int(xml.split(f" {axis} ")[1].split(" ")[0]) for axis in "xy")
    step = int(xml.split("one pixel is ")[1].split(" ")[0])
    planes = levels[0].reshape(len(maps.maps), *levels[0].shape[-2:])
    side = maps.geometry.tile_size_px * maps.geometry.scale
    x, y = ((maps.coords + side / 2 - (left, top)) / step).astype(int).T
    for plane, each in zip(planes, maps.maps, strict=True):
        np.testing.assert_array_equal(plane[y, x], each.values)
    return f"{len(planes)} channels, {len(levels)} levels; the centre of every tile has its number"


def make_slide_with_bounds(folder: Path) -> None:
    """A MIRAX slide whose scanner left rows and columns of glass out, and maps of its tiles."""
    from slidenet.testing.mirax import write_mirax

    pixels = np.full((1024, 1280, 3), 255, np.uint8)
    pixels[256:896, 384:1152] = np.random.default_rng(0).integers(90, 230, (640, 768, 3))
    path = write_mirax(folder / "mirax.mrxs", pixels, skip_white=True)
    places = [(x, y) for y in range(256, 896, 64) for x in range(384, 1152, 64)]
    write_all(folder, path, np.array(places, np.int64), 64, (1280, 1024))


def make_large(folder: Path, num_tiles: int) -> str:
    """Maps of as many tiles, on a slide that nobody has."""
    across = int(np.ceil(np.sqrt(num_tiles / 0.6)))
    cells = np.random.default_rng(1).permutation(across**2)[:num_tiles]
    places = np.stack([cells % across, cells // across], axis=1)[np.argsort(cells)] * 448
    return write_all(
        folder, folder / "large.svs", places.astype(np.int64), 448, (448 * across, 448 * across)
    )


def write_all(
    folder: Path, slide: Path, coords: np.ndarray, side: int, size: tuple[int, int]
) -> str:
    from slidenet.core.records import SlideMpp, TileGeometry
    from slidenet.explanation.exports import (
        write_anndata,
        write_ome_tiff,
        write_tile_geojson,
        write_tile_table,
        write_value_tiff,
    )
    from slidenet.slides import open_slide
    from slidenet.stores import TileMap, TileMaps, write_tile_maps
    from slidenet.tissue import qupath_bounds

    geometry = TileGeometry(SlideMpp(0.25, "override"), 0.25, 0.25, 0, side, side, side, *size)
    values = np.random.default_rng(2).normal(size=(4, len(coords))).astype(np.float32)
    values[:, ::97] = np.nan
    maps = TileMaps(
        slide.stem, str(slide), "made here", geometry, coords,
        (
            TileMap(values[0], "evidence", "tumour", True, "logit", True),
            TileMap(values[1], "single_tile", "tumour", True, "logit", True),
            TileMap(np.abs(values[2]), "attention", "tumour", False, "share", False),
            TileMap(np.abs(values[3]), "control", "tumour", False, "distance", False),
        ), {"made": "here"},
    )  # fmt: skip
    overview, area = None, None
    if slide.exists():
        with open_slide(slide) as opened:
            overview, area = opened.thumbnail(2400), qupath_bounds(opened.properties)
    root = folder / "explanations"
    values_file = root / "ome_tiff" / "more" / slide.stem / "values.ome.tiff"
    writers = {
        "geojson": lambda to: write_tile_geojson(
            to, maps, origin=None if area is None else area[:2]
        ),
        "csv": lambda to: write_tile_table(to, maps, exclusive=False),
        "anndata": lambda to: write_anndata(to, maps, overview=overview),
        "ome_tiff": lambda to: write_ome_tiff(to, maps, area=area, overview=overview),
        "values": lambda _: write_value_tiff(values_file, maps, area=area),
    }
    write_tile_maps(root / "h5" / f"{slide.stem}.h5", maps)
    said, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, write in writers.items():
        started = time.perf_counter()
        file = write(root / kind / f"{slide.stem}{ENDINGS[kind]}")
        took = time.perf_counter() - started
        said.append(f"{kind} {took:.1f} s, {file.stat().st_size / 1e6:.1f} MB")
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return "; ".join(said) + f"; {more:.0f} MB of memory beyond what is imported"


if __name__ == "__main__":
    sys.exit(main())
