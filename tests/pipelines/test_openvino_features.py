"""Features by OpenVINO: PyTorch's to rounding, the same bytes again, and known to predict."""

import shutil

import numpy as np
import pytest

from slidenet.pipelines.begun.settings_from_identity import settings_from_identity
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.preprocess import preprocess
from slidenet.stores import read_features
from slidenet.testing import write_synthetic_slide
from slidenet.tile_encoders.engines.silence import openvino_is_installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not openvino_is_installed(), reason="no wheel for this machine"),
]


def test_features_by_openvino(tmp_path):
    slide = tmp_path / "one.tiff"
    write_synthetic_slide(slide, 768, 768, 0.5, seed=0)
    assert preprocess([slide], tmp_path / "tiles", segmenter="saturation").exit_code == 0
    found = {}
    for name, engine in (("torch", "torch"), ("auto", "auto"), ("again", "openvino")):
        shutil.copytree(tmp_path / "tiles", tmp_path / name)
        report = embed_tiles([slide], tmp_path / name, engine=engine, feature_dtype="float32")
        assert report.exit_code == 0, report.table()
        path = tmp_path / name / "tile_features" / "efficientnet_lite0" / "one.h5"
        with read_features(path) as file:
            found[name] = (file.features[:], file.cohort_identity, path.read_bytes())
    by_torch, by_openvino = found["torch"][0], found["auto"][0]
    assert np.abs(by_openvino - by_torch).max() <= 1e-5 * np.abs(by_torch).max()
    assert found["auto"][2] == found["again"][2]
    encoders = {name: identity["tile_encoder"] for name, (_, identity, _) in found.items()}
    assert encoders["auto"] == {**encoders["torch"], "engine": "openvino"}
    assert settings_from_identity(found["auto"][1], source="x")[1].engine == "openvino"
    assert settings_from_identity(found["torch"][1], source="x")[1].engine == "torch"
    # A folder that was begun is finished by its engine; there is nothing left to do here.
    assert [o.status for o in embed_tiles([slide], tmp_path / "auto").outcomes] == ["failed"]
    report = embed_tiles([slide], tmp_path / "auto", feature_dtype="float32")
    assert [o.status for o in report.outcomes] == ["already done"]
