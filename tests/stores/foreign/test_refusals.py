"""What cannot be known is refused, naming the file and what to give."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
import torch

from slidenet.core.errors import StoreError
from slidenet.stores import open_features

SIZES = {"slide_mpp": 0.5, "tile_size_px": 256, "target_mpp": 0.5}


def edit(path, change):
    with h5py.File(path, "r+") as h5:
        change(h5)
    return path


def replace(h5, name, data):
    attributes = dict(h5[name].attrs)
    del h5[name]
    h5[name] = data
    h5[name].attrs.update(attributes)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("slide_mpp", r"slide_1.h5 does not say slide_mpp, .*column 'mpp' of the table"),
        ("tile_size_px", r"does not say tile_size_px, the side .*give it as --data.tile-size-px"),
        ("target_mpp", r"does not say target_mpp, .*give it as --data.target-mpp"),
    ],
)
def test_clam_without_patches_asks_for_each_number(writers, tmp_path, missing, message):
    path = writers.write_clam(tmp_path)
    with pytest.raises(StoreError, match=message):
        open_features(path, **{k: v for k, v in SIZES.items() if k != missing})


def test_clam_coords_of_another_level_are_seen_by_their_step(writers, tmp_path):
    path = writers.write_clam(tmp_path, step=256)
    with pytest.raises(StoreError, match=r"256 px apart and are 1024 .*put CLAM's patches/slide_1"):
        open_features(path, slide_mpp=0.25, tile_size_px=256, target_mpp=1.0)


def test_clam_patches_with_pixels_of_a_level_are_refused(writers, tmp_path):
    path = writers.write_clam(tmp_path, patches={"patch_level": 1, "downsample": 4.0, "imgs": True})
    with pytest.raises(StoreError, match=r"pixels of level 1, so the coords .*level-0 pixels"):
        open_features(path, slide_mpp=0.25)


def test_clam_patches_of_another_run_are_refused(writers, tmp_path):
    path = writers.write_clam(tmp_path, patches={})
    edit(tmp_path / "patches" / "slide_1.h5", lambda h5: replace(h5, "coords", np.zeros((3, 2))))
    with pytest.raises(StoreError, match=r"holds 3 coords and .*slide_1.h5 holds 12 features"):
        open_features(path, slide_mpp=0.25)


def test_a_tensor_without_coords_is_refused(tmp_path):
    torch.save(torch.zeros(4, 8), tmp_path / "slide_1.pt")
    with pytest.raises(StoreError, match=r"without the places of the tiles.*h5_files.*pt_files"):
        open_features(tmp_path / "slide_1.pt", slide_mpp=0.5)


def test_stamp_needs_the_mpp_of_the_slide(writers, tmp_path):
    with pytest.raises(StoreError, match=r"does not say slide_mpp.*column 'mpp'"):
        open_features(writers.write_stamp(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": None}, r"/coords has no unit; expected the attribute unit 'um'"),
        ({"unit": "px"}, r"unit of /coords is 'px'"),
        ({"feat_type": "slide"}, r"features of a slide, written by STAMP"),
        ({"tile_size_px": None}, r"does not say tile_size_px"),
    ],
)
def test_stamp_files_of_unknown_unit_or_kind(writers, tmp_path, change, message):
    with pytest.raises(StoreError, match=message):
        open_features(writers.write_stamp(tmp_path, **change), slide_mpp=0.25)


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ({"level0_magnification": None}, {}, r"does not say slide_mpp"),
        ({"patch_size": None}, {}, r"does not say tile_size_px"),
        (
            {"patch_size_level0": 300},
            {},
            r"patch_size_level0 300, but patch_size 256 at 20x of 40x",
        ),
        ({}, {"slide_mpp": 0.5}, r"says slide_mpp 0.25, and 0.5 is given; expected one value"),
        ({}, {"tile_size_px": 224}, r"says tile_size_px 256, and 224 is given"),
        ({}, {"slide_mpp": -1.0}, r"slide_mpp is given as -1.0; expected a positive number"),
    ],
)
def test_trident_attributes_missing_or_contradicting(writers, tmp_path, change, given, message):
    with pytest.raises(StoreError, match=message):
        open_features(writers.write_trident(tmp_path, **change), **given)


def test_slide2vec_without_its_tiles(writers, tmp_path):
    path = writers.write_slide2vec(tmp_path)
    (tmp_path / "tiles" / "slide_1.coordinates.npz").unlink()
    with pytest.raises(StoreError, match=r"places of its tiles.*whole output folder"):
        open_features(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artifact_type": "slide_embeddings"}, r"artifact_type 'slide_embeddings'"),
        ({"num_tiles": 0}, r"holds 0 tiles"),
        ({"requested_spacing_um": None}, r"does not say target_mpp"),
    ],
)
def test_slide2vec_of_another_kind(writers, tmp_path, change, message):
    with pytest.raises(StoreError, match=message):
        open_features(writers.write_slide2vec(tmp_path, **change))


def test_slide2vec_features_that_are_not_as_the_json_says(writers, tmp_path):
    path = writers.write_slide2vec(tmp_path)
    torch.save(torch.zeros(5, 8), path)
    with pytest.raises(StoreError, match=r"shape \(5, 8\); expected \(12, 8\)"):
        open_features(path).features[:]


def test_slide2vec_coordinates_counted_elsewhere(writers, tmp_path):
    path = writers.write_slide2vec(tmp_path)
    meta = tmp_path / "tiles" / "slide_1.coordinates.meta.json"
    meta.write_text(
        json.dumps(json.loads(meta.read_text()) | {"artifact": {"coordinate_space": "um"}})
    )
    with pytest.raises(StoreError, match=r"counted in 'um'; expected level-0 pixels"):
        open_features(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: replace(h, "coords", np.zeros((7, 2), np.int64)), r"7 coords and 12 features"),
        (lambda h: replace(h, "coords", np.zeros((12, 3), np.int64)), r"/coords is int64 of shape"),
        (lambda h: replace(h, "features", np.zeros(12)), r"/features is float64 of shape \(12,\)"),
        (lambda h: replace(h, "features", np.zeros((12, 8), np.int32)), r"/features is int32"),
        (
            lambda h: (
                replace(h, "features", np.zeros((0, 8))),
                replace(h, "coords", np.zeros((0, 2))),
            ),
            r"slide_1.h5 holds 0 tiles",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_at_once(writers, tmp_path, change, message):
    path = edit(writers.write_trident(tmp_path), change)
    with pytest.raises(StoreError, match=message):
        open_features(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_features_are_named_when_read(writers, tmp_path, bad):
    values = writers.features(12)
    values[[2, 5, 7, 9], 3] = bad
    path = writers.write_clam(tmp_path, values=values)
    bag = open_features(path, **SIZES)
    np.testing.assert_array_equal(bag.features[3:5], values[3:5])
    with pytest.raises(
        StoreError, match=r"slide_1.h5 holds NaN or infinite .*row 2, 5, 7 and 1 more"
    ):
        bag.features[:]
    with pytest.raises(StoreError, match=r"in row 7 of 12"):
        bag.features[6:9]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_half_precision_is_looked_at_too(writers, tmp_path, bad):
    path = writers.write_stamp(tmp_path)
    bag = open_features(path, slide_mpp=0.2527)
    assert np.isfinite(bag.features[:]).all()
    edit(path, lambda h5: h5["feats"].__setitem__((3, 1), bad))
    with bag, pytest.raises(StoreError, match=r"holds NaN or infinite features in row 3 of 12"):
        bag.features[:]
    edit(path, lambda h5: h5["feats"].__setitem__((3, 1), np.finfo(np.float16).max))
    assert bag.features[3].max() == 65504


def test_negative_and_infinite_coords_are_refused(writers, tmp_path):
    path = edit(writers.write_trident(tmp_path), lambda h: h["coords"].__setitem__(0, (-5, 0)))
    with pytest.raises(StoreError, match=r"slide_1.h5: coords hold the negative value -5"):
        _ = open_features(path).coords
    path = edit(writers.write_stamp(tmp_path), lambda h: h["coords"].__setitem__(0, (np.nan, 0)))
    with pytest.raises(StoreError, match=r"/coords holds NaN"):
        _ = open_features(path, slide_mpp=0.25).coords


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("gone.h5", lambda p: None, r"gone.h5 does not exist"),
        ("text.h5", lambda p: p.write_text("no"), r"text.h5 cannot be read as HDF5"),
        ("text.npz", lambda p: p.write_text("no"), r"no text.meta.json beside it"),
        ("folder.h5", lambda p: p.mkdir(), r"folder.h5 is not a file"),
    ],
)
def test_files_of_no_layout(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(StoreError, match=message):
        open_features(tmp_path / name)


def test_an_h5_of_something_else_is_described(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5["imgs"] = np.zeros(3)
    with pytest.raises(StoreError, match=r"a.h5 holds /imgs; expected /features or /feats"):
        open_features(tmp_path / "a.h5")


class _Harmful:
    def __reduce__(self):
        return (print, ("run from the file",))


def test_a_tensor_file_never_runs_code(writers, tmp_path, capsys):
    path = writers.write_slide2vec(tmp_path)
    torch.save(_Harmful(), path)
    with pytest.raises(StoreError, match=r"slide_1.pt cannot be read as a tensor"):
        open_features(path).features[:]
    assert "run from the file" not in capsys.readouterr().out


def without(name):
    return lambda folder: rewrite(folder, lambda arrays: arrays.pop(name))


def rewrite(folder, change):
    path = folder / "tiles" / "slide_1.coordinates.npz"
    arrays = dict(np.load(path))
    change(arrays)
    np.savez_compressed(path, **arrays)


def claim(folder):
    """An array of 8 TB by its header, without the bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(folder / "tiles" / "slide_1.coordinates.npz", "w") as archive:
        for name in ("x", "y"):
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(64))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("x"), "no arrays x and y"),
        (lambda f: rewrite(f, lambda a: a.update(x=a["x"][:3])), "all of one length"),
        (lambda f: rewrite(f, lambda a: a.update(y=a["y"][None])), "all of one length"),
        (lambda f: rewrite(f, lambda a: a.update(x=a["x"].astype(str))), "whole numbers"),
        (claim, r"an array of shape \(1000000000000,\) is not there"),
        (
            lambda f: rewrite(f, lambda a: a.update(x=np.zeros(2**17, np.int64))),
            "1048704 bytes packed in",
        ),
    ],
)
def test_slide2vec_coordinates_that_cannot_be(writers, tmp_path, spoil, message, monkeypatch):
    monkeypatch.setattr("slidenet.stores.foreign.slide2vec.SMALL_BYTES", 2**20)
    path = writers.write_slide2vec(tmp_path)
    spoil(tmp_path)
    with pytest.raises(StoreError, match=message):
        _ = open_features(path).coords


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_dim": "many"}, "say feature_dim 'many'; expected a number"),
        ({"requested_tile_size_px": 1e300}, "say requested_tile_size_px"),
        ({"requested_spacing_um": [0.5]}, "say requested_spacing_um"),
    ],
)
def test_slide2vec_json_of_other_types(writers, tmp_path, change, message):
    with pytest.raises(StoreError, match=message):
        open_features(writers.write_slide2vec(tmp_path, **change))
