import json

import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.explanation.exports import as_anndata, write_anndata

anndata = pytest.importorskip("anndata", reason="anndata is not installed: pip install .[anndata]")


def test_anndata_opens_it(tmp_path, maps):
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    overview = np.full((64, 48, 3), 200, np.uint8)
    path = write_anndata(tmp_path / "a.h5ad", maps, features=features, overview=overview)
    found = anndata.read_h5ad(path)
    np.testing.assert_array_equal(found.obsm["spatial"], maps.coords + 32.0)
    np.testing.assert_array_equal(found.X, features)
    assert list(found.obs) == [
        "slide_id", "tile", "x", "y", "evidence_tumour", "single_tile_tumour",
        "attention_tumour_not_evidence",
    ]  # fmt: skip
    for name, each in zip(list(found.obs)[4:], maps.maps, strict=True):
        np.testing.assert_array_equal(found.obs[name], each.values)
        assert found.obs[name].dtype == np.float32
    assert list(found.obs_names) == [f"slide_1_{i}" for i in range(4)]
    said = found.uns["slidenet"]
    assert said["maps"].loc["attention_tumour_not_evidence", "is_evidence"] == np.False_
    assert said["maps"].loc["evidence_tumour", ["lowest", "highest"]].tolist() == [-0.25, 1.5]
    assert said["maps"]["details"].iloc[2] == '{"heads":1}'
    assert json.loads(said["prediction"])["slide_1"]["words"] == "tumour 0.93"
    picture = found.uns["spatial"]["slide_1"]
    np.testing.assert_array_equal(picture["images"]["hires"], overview)
    assert picture["scalefactors"] == {"tissue_hires_scalef": 0.125, "spot_diameter_fullres": 64.0}


@pytest.mark.filterwarnings("error")
def test_odd_names_no_tiles_and_no_places(tmp_path, odd_names, no_tiles, unplaced):
    found = anndata.read_h5ad(write_anndata(tmp_path / "a.h5ad", odd_names))
    assert len(list(found.obs)) == 9
    assert found.uns["slidenet"]["slide_id"] == odd_names.slide_id
    found = anndata.read_h5ad(write_anndata(tmp_path / "b.h5ad", no_tiles))
    assert found.n_obs == 0
    found = anndata.read_h5ad(write_anndata(tmp_path / "c.h5ad", unplaced))
    assert "spatial" not in found.obsm
    assert "x" not in found.obs
    assert found.n_obs == 4


def test_slides_can_be_put_together(maps, making):
    _, _, make_maps = making
    ids = ("slide 2", "slide_2", "病")
    joined = anndata.concat([as_anndata(maps), *(as_anndata(make_maps(slide_id=i)) for i in ids)])
    assert joined.obs_names.is_unique
    assert set(joined.obs["slide_id"]) == {"slide_1", *ids}


def test_features_of_other_tiles_are_refused(maps):
    with pytest.raises(CoordinateError, match="3 rows of features and 4 tiles"):
        as_anndata(maps, features=np.zeros((3, 2), np.float32))
