"""What an encoder hands over, made fit to be stored, or refused with the tile and the slide."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.core.errors import EncoderError
from slidenet.core.records import TileSet
from slidenet.core.status import OK
from slidenet.stores.h5 import schema


def storable_rows(
    features: npt.ArrayLike,
    status: npt.ArrayLike | None,
    *,
    tile_set: TileSet,
    tiles: Sequence[int] | IntArray,
    feature_dim: int,
    dtype: str,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.uint8]]:
    """Checks the features of some tiles and casts them to `dtype`.

    Args:
        features: (B, D) floats.
        status: (B,) codes of `core.status`; all ok when None.
        tile_set: The tiles of the slide.
        tiles: Which of them these are, increasing; those behind the last tile are too many.
        feature_dim: D.
        dtype: "float16" or "float32".

    Returns:
        The rows (B, D) in `dtype`, all zero where not ok, and uint8 status (B,).

    Raises:
        EncoderError: Wrong shape, unknown codes, NaN or infinite values, or too large for `dtype`.
    """
    values = np.asarray(features)
    codes = np.zeros(len(values), np.uint8) if status is None else np.asarray(status)
    slide = tile_set.slide_id
    num_left = int(np.searchsorted(tiles, tile_set.num_tiles))
    if values.ndim != 2 or values.shape[1] != feature_dim:
        raise EncoderError(
            f"features have shape {values.shape}",
            expected=f"(B, {feature_dim})",
            remedy="give the encoder's real output dimension",
            slide=slide,
        )
    if len(values) > num_left:
        raise EncoderError(
            f"features of {len(values)} more tiles",
            expected=f"at most the {num_left} that are missing",
            slide=slide,
        )
    known = schema.STATUS_CODES[schema.version_of(tile_set.geometry)]
    if codes.shape != (len(values),) or not np.isin(codes, known).all():
        words = ("0 = ok", "1 = unreadable", "2 = empty")[: len(known)]
        raise EncoderError(
            f"status codes {codes.tolist()}",
            expected=f"{len(values)} codes, {', '.join(words)}",
            slide=slide,
        )
    rows = np.where((codes == OK)[:, None], values, 0).astype(np.float32)
    _check_finite(rows, tiles, tile_set, "NaN or infinite", "check the encoder and its precision")
    with np.errstate(over="ignore"):
        stored: npt.NDArray[np.floating] = rows.astype(dtype)
    large = f"too large for {dtype} (up to {np.abs(rows).max(initial=0):.3g}):"
    _check_finite(stored, tiles, tile_set, large, "store them with dtype float32")
    return stored, codes.astype(np.uint8)


def _check_finite(
    rows: npt.NDArray[np.floating],
    tiles: Sequence[int] | IntArray,
    tile_set: TileSet,
    found: str,
    remedy: str,
) -> None:
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        tile = int(tiles[int(wrong[0])])
        x, y = tile_set.coords[tile]
        raise EncoderError(
            f"{found} features of tile {tile} at ({x}, {y})",
            expected="finite numbers",
            remedy=remedy,
            slide=tile_set.slide_id,
        )
