"""Every method draws on a CUDA device what it draws on the CPU."""

import numpy as np
import pytest
import torch

from slidenet.explanation import EXPLAINERS, explain_target, subjects_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda"


@pytest.mark.parametrize("name", ["abmil", "clam_mb", "dsmil", "longnet", "transmil"])
def test_maps_are_those_of_the_cpu(name, classifier, batch):
    (here,) = subjects_of(classifier(name), batch())
    (target,) = classifier(name).task.explained_targets()
    want = {
        method: explain_target(method, here, target)[0]
        for method in EXPLAINERS
        if not EXPLAINERS[method].applies_to(here.network)
    }
    (there,) = subjects_of(classifier(name).to(DEVICE), batch().to(DEVICE))
    for method, values in want.items():
        found = explain_target(method, there, target)[0]
        size = np.abs(values).max()
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4 * size, err_msg=method)
