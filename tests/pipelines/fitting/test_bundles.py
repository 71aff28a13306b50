"""Bundles that a run finds in its folder."""

from slidenet.pipelines.fitting.bundles import holds_model
from slidenet.tasks import BinaryTask, Calibration
from slidenet.training import SlideClassifier, model_digest, save_bundle


def test_a_file_of_the_same_model_is_known_whatever_else_it_says(tmp_path):
    module = SlideClassifier(BinaryTask(("label",), ("no", "yes")), 6, "mean")
    path, calibration = tmp_path / "model.slidenet", Calibration(2.0, 0.3)
    digest = model_digest(module, calibration)
    assert not holds_model(path, digest)
    save_bundle(path, module, features_identity={}, calibration=calibration, training={"seed": 1})
    assert holds_model(path, digest)
    assert not holds_model(path, model_digest(module, Calibration(2.0, 0.4)))
    path.write_bytes(path.read_bytes()[:200])
    assert not holds_model(path, digest)
