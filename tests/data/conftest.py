"""Small cohorts: a table of labels and one features file per slide, in the layout of slidenet."""

from types import SimpleNamespace

import numpy as np
import pytest

from slidenet.core.records import SlideMpp, TileGeometry, TileSet
from slidenet.stores import FeatureWriter, open_features

DIM = 6


def features_of(slide_id, num_tiles, dim=DIM):
    seed = int.from_bytes(slide_id.encode()[-4:], "little")
    return np.random.default_rng(seed).normal(size=(num_tiles, dim)).astype(np.float16)


def coords_of(num_tiles, side=256, columns=4):
    cells = np.array([(i % columns, i // columns) for i in range(num_tiles)], dtype=np.int64)
    return cells.reshape(-1, 2) * side


def write_slide(
    folder, slide_id, num_tiles=9, *, dim=DIM, encoder="toy", unreadable=(), mpp=0.5, coords=None,
    regions=None, **geometry_fields,
):  # fmt: skip
    """A features file of slidenet at 0.5 mpp, so that cells are coords / (128 / mpp)."""
    folder.mkdir(parents=True, exist_ok=True)
    coords = coords_of(num_tiles, round(128 / mpp)) if coords is None else coords
    geometry = TileGeometry(
        slide_mpp=SlideMpp(mpp, "override"),
        target_mpp=0.5,
        read_mpp=mpp,
        level=0,
        tile_size_px=256,
        stride_px=256,
        read_size_px=256,
        level0_width=10**6,
        level0_height=10**6,
        **geometry_fields,
    )
    tile_set = TileSet(
        slide_id=slide_id,
        slide_path=f"{slide_id}.svs",
        fingerprint=f"sha256:{slide_id}",
        geometry=geometry,
        coords=coords,
        tissue_fraction=np.ones(num_tiles, np.float32),
        identity={"segmenter": "none"},
        regions=regions,
    )
    identity = {"encoder": encoder, "tiles": {"inputs": {"mpp": mpp}, "segmenter": "none"}}
    path = folder / f"{slide_id}.h5"
    with FeatureWriter(path, tile_set, dim, "float16", identity, {"id": encoder}, 32) as writer:
        status = np.isin(np.arange(num_tiles), unreadable).astype(np.uint8)
        writer.append(features_of(slide_id, num_tiles, dim), status)
        writer.finish()
    return path


def write_cohort(folder, *, num_slides=24, slides_per_patient=1, columns=None, num_tiles=None):
    """labels.csv and features/: slides s00, s01, ... of patients p00, ...; labels a, b in turn."""
    lengths = num_tiles or [5 + i % 7 for i in range(num_slides)]
    ids = [f"s{i:02d}" for i in range(num_slides)]
    patients = [i // slides_per_patient for i in range(num_slides)]
    columns = columns or {"label": ["ab"[p % 2] for p in patients]}
    lines = [",".join(["slide_id", "patient_id", *columns])]
    for i, slide_id in enumerate(ids):
        write_slide(folder / "features", slide_id, lengths[i])
        cells = [str(values[i]) for values in columns.values()]
        lines.append(",".join([slide_id, f"p{patients[i]:02d}", *cells]))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return {"labels": folder / "labels.csv", "features": folder / "features"}


def open_slide(folder, slide_id, num_tiles=9, **change):
    return open_features(write_slide(folder, slide_id, num_tiles, **change))


@pytest.fixture(scope="session")
def cohort_kit() -> SimpleNamespace:
    """The writers and constants of this file."""
    return SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith("_")})
