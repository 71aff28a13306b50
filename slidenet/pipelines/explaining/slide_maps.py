"""Maps of bags as maps of slides: a bag may be all slides of a patient, or a region of a slide."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.provenance import JsonValue
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.core.status import OK
from slidenet.core.units import Mpp
from slidenet.explanation.agreement import agreement
from slidenet.pipelines.applying.opening import OpenedBags
from slidenet.pipelines.explaining.bag_maps import plain
from slidenet.stores import FeatureFile, TileMap
from slidenet.stores.features.part import PartSource
from slidenet.stores.h5.digests import digest_of_array

BagMapsBySet = Sequence[Sequence[TileMap]]


def maps_of_slides(
    opened: OpenedBags, number: int, by_bag: Mapping[str, BagMapsBySet]
) -> list[tuple[TileMap, ...]]:
    """The maps of each slide of a row in one feature set.

    Args:
        opened: The bags of the row.
        number: Of the feature set, counted from 0.
        by_bag: By bag_id the maps in each feature set, one value per real tile of the bag.

    Returns:
        Per slide, in the order of the files; NaN where a tile is in no bag.
    """
    sources = {source.bag_id: source for source in opened.sources}
    whole = opened.files[number]
    names = dict.fromkeys(
        (one.method, one.target) for maps in by_bag.values() for one in maps[number]
    )
    values = {name: [np.full(f.num_tiles, np.nan, np.float32) for f in whole] for name in names}
    firsts: dict[tuple[str, str], TileMap] = {}
    details: dict[tuple[str, str], dict[str, Mapping[str, JsonValue]]] = {
        name: {} for name in names
    }
    for bag_id, maps in by_bag.items():
        source = sources[bag_id]
        files = source.files if number == 0 else source.others[number - 1]
        rows = [_real_rows(file) for file in files]
        ends = np.cumsum([len(one) for one in rows])[:-1]
        for one in maps[number]:
            name = (one.method, one.target)
            firsts.setdefault(name, one)
            details[name][bag_id] = dict(one.details)
            for slide, (places, part) in enumerate(
                zip(rows, np.split(one.values, ends), strict=True)
            ):
                values[name][slide][places] = part
    found = []
    for slide in range(len(whole)):
        of_slide = [
            _of_slide(firsts[name], values[name][slide], details[name], opened.parts is not None)
            for name in names
        ]
        found.append(tuple(with_agreement(of_slide)))
    return found


def _of_slide(
    first: TileMap,
    values: npt.NDArray[np.float32],
    by_bag: Mapping[str, Mapping[str, JsonValue]],
    in_parts: bool,
) -> TileMap:
    """One map of a slide; of several bags, what is to know of each stands under its bag_id."""
    details: dict[str, JsonValue] = dict(first.details)
    if in_parts:
        details = {key: first.details[key] for key in ("relative",) if key in first.details}
        details["bags"] = {bag_id: dict(one) for bag_id, one in by_bag.items()}
    return TileMap(
        values, first.method, first.target, first.signed, first.unit, first.is_evidence, details
    )


def with_agreement(maps: Sequence[TileMap]) -> list[TileMap]:
    """The same maps; `details["agreement"]` says of each how alike the others of its target are."""
    result = []
    for one in maps:
        others = [
            other for other in maps if other.target == one.target and other.method != one.method
        ]
        said: dict[str, Any] = {}
        for other in others:
            if not np.isfinite(one.values + other.values).any():
                continue
            both = agreement([one.values, other.values])
            said[other.method] = {
                "spearman": both.spearman[0, 1],
                "top_overlap": both.overlap[0, 1],
                "num_top": both.num_top,
            }
        details = {**one.details, **({"agreement": plain(said)} if said else {})}
        result.append(
            TileMap(
                one.values, one.method, one.target, one.signed, one.unit, one.is_evidence, details
            )
        )
    return result


def _real_rows(file: FeatureFile) -> npt.NDArray[np.int64]:
    """Rows of the whole file of a slide that are tiles of its bag, in order."""
    if isinstance(file.source, PartSource):
        of_part: npt.NDArray[np.int64] = file.source.rows[file.status == OK]
        return of_part
    return np.flatnonzero(file.mask)


def geometry_of(file: FeatureFile) -> TileGeometry:
    """How the tiles of a file lie; of another tool's file, what it says of them.

    Such files do not know the size of their slide: it reaches as far as its tiles then.
    """
    if file.geometry is not None:
        return file.geometry
    coords, scale = file.coords, file.target_mpp / file.slide_mpp
    side = max(1, round(file.tile_size_px * scale))
    width, height = (int(most) + side for most in coords.max(axis=0))
    return TileGeometry(
        slide_mpp=SlideMpp(Mpp(file.slide_mpp), f"features of {file.layout}"),
        target_mpp=Mpp(file.target_mpp),
        read_mpp=Mpp(file.slide_mpp),
        level=0,
        tile_size_px=file.tile_size_px,
        stride_px=file.tile_size_px,
        read_size_px=side,
        level0_width=width,
        level0_height=height,
        reading=2,
    )


def digest_of_features(file: FeatureFile) -> str:
    """The digest of what was explained, computed where the file carries none."""
    if file.digest is not None:
        return file.digest
    with file:
        parts = (file.features[:], file.coords, file.status)
    text = " ".join(digest_of_array(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_of_bags(files: Sequence[Sequence[FeatureFile]]) -> str:
    """The digest of all that a row is made from: that of the file where it is one alone."""
    digests = [digest_of_features(file) for of_set in files for file in of_set]
    if len(digests) == 1:
        return digests[0]
    return hashlib.blake2b(" ".join(digests).encode(), digest_size=16).hexdigest()
