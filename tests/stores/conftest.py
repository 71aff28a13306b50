"""A small tile set and its features, and small files as other tools write them, name by name."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from slidenet.core.records import SlideMpp, TileGeometry, TileSet
from slidenet.stores import FeatureWriter

GEOMETRY = TileGeometry(
    slide_mpp=SlideMpp(0.499, "vendor property aperio.MPP"),
    target_mpp=0.5,
    read_mpp=0.499,
    level=0,
    tile_size_px=256,
    stride_px=224,
    read_size_px=256,
    level0_width=20000,
    level0_height=30000,
    reading=2,
)
TILES_RECIPE = {"segmenter": "otsu", "target_mpp": 0.5, "filters": ["blank"], "margin": None}
ENCODER = {"id": "toy", "weights": "sha256:0123", "precision": "float32"}
RECIPE = {"tiles": TILES_RECIPE, "encoder": ENCODER, "dtype": "float16"}
FEATURE_DIM = 12
BATCH_SIZE = 32
DIM = 8


def make_tile_set(num_tiles: int = 600, *, slide_id: str = "slide_1") -> TileSet:
    step = GEOMETRY.stride_level0
    cells = [(x, y) for y in range(60) for x in range(40)][:num_tiles]
    coords = np.array([(round(x * step), round(y * step)) for x, y in cells], dtype=np.int64)
    return TileSet(
        slide_id=slide_id,
        slide_path="/data/slides/slide_1.svs",
        fingerprint="sha256:feed",
        geometry=GEOMETRY,
        coords=coords.reshape(-1, 2),
        tissue_fraction=np.linspace(0, 1, num_tiles, dtype=np.float32),
        identity=TILES_RECIPE,
    )


def features_of(start: int, stop: int) -> np.ndarray:
    """Rows that depend on the tile alone, as an encoder's would."""
    rows = [np.random.default_rng(i).normal(size=FEATURE_DIM) for i in range(start, stop)]
    return np.array(rows, dtype=np.float32).reshape(-1, FEATURE_DIM)


def open_writer(path, tile_set, *, dtype="float16", identity=RECIPE, batch_size=BATCH_SIZE):
    return FeatureWriter(path, tile_set, FEATURE_DIM, dtype, identity, ENCODER, batch_size)


def write_features(path, tile_set, *, unreadable=(), stop_at=None, **settings):
    """Encodes and writes like the pipeline does; stops before tile `stop_at` if given."""
    with open_writer(path, tile_set, **settings) as writer:
        while writer.num_done < (tile_set.num_tiles if stop_at is None else stop_at):
            start = writer.num_done
            stop = min(start + BATCH_SIZE, tile_set.num_tiles)
            status = np.isin(np.arange(start, stop), unreadable).astype(np.uint8)
            writer.append(features_of(start, stop), status)
        if stop_at is None:
            writer.finish()
    return path


def grid(num_tiles, step, *, columns=5):
    """Top-left corners on a lattice of `step`, row by row."""
    cells = [(i % columns, i // columns) for i in range(num_tiles)]
    return np.array(cells).reshape(-1, 2) * step


def features(num_tiles, dim=DIM, seed=0):
    return np.random.default_rng(seed).normal(size=(num_tiles, dim)).astype(np.float32)


def write_clam(
    folder, name="slide_1", *, num_tiles=12, step=256, batch_axis=False, patches=None, values=None
):
    """h5_files/ as extract_features_fp.py, patches/ as create_patches_fp.py write them."""
    folder.joinpath("h5_files").mkdir(parents=True, exist_ok=True)
    path = folder / "h5_files" / f"{name}.h5"
    rows = features(num_tiles) if values is None else values
    coords = grid(num_tiles, step).astype(np.int32)
    with h5py.File(path, "w") as h5:
        for key, data in (("features", rows), ("coords", coords)):
            data = data[None] if batch_axis and key == "features" else data
            shape = (None, *data.shape[1:])
            h5.create_dataset(key, data=data, maxshape=shape, chunks=(1, *data.shape[1:]))
    if patches is not None:
        folder.joinpath("patches").mkdir(exist_ok=True)
        with h5py.File(folder / "patches" / f"{name}.h5", "w") as h5:
            data = h5.create_dataset("coords", data=coords.astype(np.int64))
            level, down = patches.get("patch_level", 0), patches.get("downsample", 1.0)
            data.attrs["patch_size"] = patches.get("patch_size", 256)
            data.attrs["patch_level"] = level
            data.attrs["downsample"] = (down, down)
            data.attrs["downsampled_level_dim"] = (5000, 4000)
            data.attrs["level_dim"] = (5000, 4000)
            data.attrs["name"] = name
            data.attrs["save_path"] = "/results/patches"
            if patches.get("imgs"):
                h5.create_dataset("imgs", data=np.zeros((num_tiles, 2, 2, 3), np.uint8))
                h5["imgs"].attrs["patch_level"] = level
    return path


def write_trident(
    folder, name="slide_1", *, num_tiles=12, level0=40, target=20, size=256, **change
):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.h5"
    side = size * level0 // target
    attributes = {
        "patch_size": size,
        "patch_size_level0": side,
        "level0_magnification": level0,
        "target_magnification": target,
        "overlap": 0,
        "name": name,
        "savetodir": "/results/patches",
        "level0_width": 20000,
        "level0_height": 10000,
    } | change
    rows, coords = features(num_tiles), grid(num_tiles, side).astype(np.int64)
    with h5py.File(path, "w") as h5:
        for key, data in (("features", rows), ("coords", coords)):
            h5.create_dataset(
                key, data=data, maxshape=(None, data.shape[1]), chunks=(1, data.shape[1])
            )
        h5["features"].attrs.update({"name": name, "savetodir": "/results", "encoder": "uni_v1"})
        h5["coords"].attrs.update({k: v for k, v in attributes.items() if v is not None})
    return path


def write_stamp(folder, name="slide_1", *, num_tiles=12, slide_mpp=0.2527, **change):
    """Tiles of 256 um in 224 px; the corners lie on whole level-0 pixels, in microns."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.h5"
    pixels = np.rint(grid(num_tiles, 256.0) / slide_mpp)
    attributes = {
        "stamp_version": "2.1.0",
        "extractor": "uni",
        "unit": "um",
        "tile_size_um": 256.0,
        "tile_size_px": 224,
        "code_hash": "0123abcd",
        "feat_type": "tile",
    } | change
    with h5py.File(path, "w") as h5:
        h5["coords"] = (pixels * slide_mpp).astype(np.float32)
        h5["feats"] = features(num_tiles).astype(np.float16)
        h5.attrs.update({k: v for k, v in attributes.items() if v is not None})
    return path


def write_slide2vec(
    folder,
    name="slide_1",
    *,
    num_tiles=12,
    ending="pt",
    tile_index=None,
    dtype=np.float16,
    **change,
):
    embeddings, tiles = folder / "tile_embeddings", folder / "tiles"
    embeddings.mkdir(parents=True, exist_ok=True)
    tiles.mkdir(exist_ok=True)
    rows = features(num_tiles).astype(dtype)
    path = embeddings / f"{name}.{ending}"
    if ending == "pt":
        import torch  # not above: scripts that are killed import this file, and need no torch

        torch.save(torch.from_numpy(rows), path)
    else:
        index = {} if tile_index is None else {"tile_index": np.asarray(tile_index, np.int32)}
        np.savez_compressed(path, features=rows, **index)
    meta = {
        "sample_id": name,
        "artifact_type": "tile_embeddings",
        "backend": "cucim",
        "coordinates_meta_path": f"/elsewhere/tiles/{name}.coordinates.meta.json",
        "coordinates_npz_path": f"/elsewhere/tiles/{name}.coordinates.npz",
        "encoder_level": "tile",
        "encoder_name": "uni",
        "feature_dim": rows.shape[1],
        "feature_dtype": "fp16",
        "format": ending,
        "image_path": f"/data/{name}.tif",
        "num_tiles": num_tiles,
        "requested_tile_size_px": 224,
        "requested_spacing_um": 0.5,
        "tile_size_lv0": 448,
    } | change
    (embeddings / f"{name}.meta.json").write_text(json.dumps(meta))
    x, y = grid(num_tiles, 448).T.astype(np.int64)
    np.savez(
        tiles / f"{name}.coordinates.npz",
        x=x,
        y=y,
        tile_index=np.arange(num_tiles, dtype=np.int32),
        tissue_fractions=np.ones(num_tiles, np.float32),
    )
    tiling = {
        "slide": {"dimensions": [9000, 9000], "base_spacing_um": 0.25},
        "tiling": {
            "requested_tile_size_px": 224,
            "requested_spacing_um": 0.5,
            "n_tiles": num_tiles,
        },
        "artifact": {"coordinate_space": "level_0", "tile_order": "row_major"},
    }
    (tiles / f"{name}.coordinates.meta.json").write_text(json.dumps(tiling))
    return path


@pytest.fixture
def writers() -> SimpleNamespace:
    """The writers of other tools' files."""
    return SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith("_")})


@pytest.fixture
def toy() -> SimpleNamespace:
    """The constants and makers of this file, for tests that need more than one file."""
    return SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith("_")})


@pytest.fixture
def tile_set() -> TileSet:
    return make_tile_set()


@pytest.fixture
def features_file(tmp_path, tile_set):
    return write_features(tmp_path / "out" / "slide_1.h5", tile_set, unreadable=(5, 300))
