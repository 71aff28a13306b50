"""A classifier of several inputs: their logits add up, and each is optional."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, StoreError
from slidenet.mil import FeatureSet
from slidenet.mil.covariates import fit_column
from slidenet.training import SlideClassifier, load_bundle, save_bundle

AGE = np.array([50, 60, np.nan, 70, 60], np.float32)
COLUMNS = (fit_column("age", AGE),)


@pytest.fixture
def batch(cohort):
    """Five bags with covariates and a second feature set of 4 features and other lengths."""
    loader, tasks = cohort
    batch = next(iter(loader(tasks["binary"], n=5)))
    mask = torch.arange(7) < torch.tensor([7, 3, 2, 5, 6])[:, None]
    cells = torch.zeros(5, 7, 2, dtype=torch.int64)
    torch.manual_seed(0)
    features = torch.randn(5, 7, 4) * mask[..., None]
    others = (FeatureSet(features, cells, cells, mask),)
    return replace(batch, covariates=torch.from_numpy(AGE)[:, None], others=others)


def classifier(task, network="abmil", **settings):
    torch.manual_seed(0)
    module = SlideClassifier(task, 6, network, **settings)
    with torch.no_grad():  # heads begin at zero, which would prove nothing
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


@pytest.mark.parametrize("network", ["abmil", "clam_mb", "dsmil"])
def test_logits_of_all_inputs_add_up(cohort, batch, network):
    task = cohort[1]["binary"]
    module = classifier(task, network, covariates=COLUMNS, more_feature_dims=[4])
    output, more = module(batch), batch.others[0]
    branch, beside = module.fusion.each_branch[0], module.fusion.covariates
    first = module.network(batch.features, batch.grid_xy, batch.mask).logits
    second = branch.network(more.features, more.grid_xy, more.mask).logits
    torch.testing.assert_close(output.logits, first + second + beside(batch.covariates))
    assert output.others[0].logits.shape == output.logits.shape
    extra = [
        one.auxiliary_loss(out, batch.target, mask, task)
        for one, out, mask in (
            (module.network, output, batch.mask), (branch.network, output.others[0], more.mask)
        )
    ]  # fmt: skip
    loss = task.loss(output.logits, batch.target) + sum(e for e in extra if e is not None)
    module.log = lambda *_, **__: None
    torch.testing.assert_close(module.training_step(batch, 0), loss)


def test_regression_is_in_the_unit_of_the_target(cohort, batch):
    module = classifier(
        cohort[1]["regression"], covariates=COLUMNS, target_offset=60.0, target_scale=9.0
    )
    only = replace(batch, others=())
    parts = module.network(batch.features, batch.grid_xy, batch.mask).logits
    wanted = (parts + module.fusion.covariates(batch.covariates)) * 9 + 60
    torch.testing.assert_close(module(only).logits, wanted)
    target = torch.tensor([50.0, 60, 60, 70, 60])
    module.fit_covariates(batch.covariates, target)
    with torch.no_grad():
        fitted = module.fusion.covariates(batch.covariates)[:, 0] * 9 + 60
    assert (fitted - target).abs().max() < 3


def test_bags_that_lack_an_input_are_refused(cohort, batch):
    module = classifier(cohort[1]["binary"], covariates=COLUMNS, more_feature_dims=[4])
    for lacking in (replace(batch, covariates=None), replace(batch, others=())):
        with pytest.raises(ConfigError, match="1 covariates and 1 further feature sets"):
            module(lacking)


def test_a_model_without_further_inputs_is_described_as_before(cohort):
    module = SlideClassifier(cohort[1]["binary"], 6)
    assert module.fusion is None
    assert not {"covariates", "more_feature_dims"} & set(module.hparams)
    assert not [name for name in module.state_dict() if name.startswith("fusion")]


def test_a_bundle_brings_encoding_and_branches(cohort, batch, tmp_path):
    module = classifier(cohort[1]["binary"], covariates=COLUMNS, more_feature_dims=[4])
    more = [{"encoder": "other"}]
    save_bundle(
        tmp_path / "m", module, features_identity={"a": 1}, training={"more_features": more}
    )
    loaded = load_bundle(tmp_path / "m")
    assert loaded.covariate_kinds == {"age": False}
    assert loaded.more_identities == ({"encoder": "other"},)
    assert loaded.module.feature_dims == (6, 4)
    with torch.no_grad():
        assert torch.equal(loaded.module(batch).logits, module(batch).logits)
    for wrong in ([], [{}, {}], ["x"], {"a": 1}):
        save_bundle(
            tmp_path / "w", module, features_identity={"a": 1}, training={"more_features": wrong}
        )
        with pytest.raises(StoreError, match="other than 1 further feature sets"):
            load_bundle(tmp_path / "w")


def test_every_part_learns(cohort, batch):
    module = classifier(cohort[1]["binary"], covariates=COLUMNS, more_feature_dims=[4])
    groups = module._parameter_groups(0.1)
    learning = {id(p) for group in groups for p in group["params"]}
    assert learning == {id(p) for p in module.parameters()}
    assert sum(len(group["params"]) for group in groups) == len(learning)
