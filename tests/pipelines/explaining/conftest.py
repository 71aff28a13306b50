"""A small cohort of features, and bundles of models whose weights nobody trained."""

import numpy as np
import pytest
import torch

from slidenet.pipelines.explain import explain
from slidenet.stores import open_features
from slidenet.tasks import BinaryTask
from slidenet.testing import write_feature_cohort
from slidenet.training import SlideClassifier, save_bundle

BINARY = BinaryTask(("label",), ("0", "1"))
DIM = 8


@pytest.fixture(scope="package")
def cohort(tmp_path_factory):
    """Four slides of three patients, the last patient with two."""
    return write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=3, num_sites=1, num_tiles=16,
        feature_dim=DIM, seed=3,
    )  # fmt: skip


@pytest.fixture(scope="package")
def make_bundle(cohort):
    """Writes the bundle of an untrained network; gives its path."""

    def make(path, task=BINARY, network="abmil", training=None, seed=0, **settings):
        torch.manual_seed(seed)
        module = SlideClassifier(task, DIM, network, **settings).eval()
        rng = np.random.default_rng(seed)
        rows = [torch.from_numpy(rng.normal(size=(20, DIM))).float() for _ in range(1)]
        if module.has_inputs_to_fit:
            module.fit_inputs([[one] * len(module.feature_dims) for one in rows])
        identity = open_features(next(iter(cohort.features.glob("*.h5")))).cohort_identity
        more = len(settings.get("more_feature_dims", ()))
        training = {**({"more_features": [dict(identity)] * more} if more else {}),
                    **(training or {})}  # fmt: skip
        save_bundle(path, module, features_identity=identity, training=training)
        return path

    return make


@pytest.fixture
def run(cohort, tmp_path):
    """Explains the cohort by features; no format beside the h5 unless asked for."""

    def run(bundle, **settings):
        out = settings.pop("out", tmp_path / "out")
        given = {"features": cohort.features, "formats": (), "device": "cpu", **settings}
        return explain(bundle, given.pop("slides", cohort.labels), out, **given)

    return run
