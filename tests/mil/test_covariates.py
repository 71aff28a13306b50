"""The linear part of covariates: encoding by training bags alone, and its convex first fit."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from slidenet.core.errors import ConfigError
from slidenet.mil import CovariateModel
from slidenet.mil.covariates import category_code, columns_of, fit_column
from slidenet.tasks import BinaryTask, CoxTask, RegressionTask

AGE = np.array([50, 60, np.nan, 70, 60], np.float32)
SEX = np.array([category_code(s) for s in "FMFMM"], np.float32)


def covariates():
    columns = (fit_column("age", AGE), fit_column("sex", SEX, ("F", "M", "X")))
    return columns, torch.from_numpy(np.stack([AGE, SEX], axis=1))


def test_numbers_are_standardised_and_what_is_missing_is_the_mean():
    (age, _), values = covariates()
    deviation = np.std([50, 60, 70, 60])
    encoded = age.encode(values[:, 0]).numpy()
    wanted = np.array([-10, 0, 0, 10, 0]) / deviation
    np.testing.assert_allclose(encoded[:, 0], wanted, rtol=1e-6)
    np.testing.assert_allclose(encoded[:, 1], [-0.2, -0.2, 0.8, -0.2, -0.2], atol=1e-7)
    assert age.encode(torch.tensor([999.0]))[0, 0] == 5


def test_categories_are_those_of_training_and_others_say_nothing():
    (_, sex), values = covariates()
    assert sex.categories == ("F", "M")
    np.testing.assert_allclose(sex.encode(values[:, 1])[0], [0.6, -0.6, 0], atol=1e-6)
    unseen = torch.tensor([category_code("X"), torch.nan])
    np.testing.assert_allclose(sex.encode(unseen), [[0, 0, 0], [0, 0, 1]], atol=1e-7)


def test_what_is_missing_or_equal_throughout_adds_nothing():
    gone = fit_column("age", np.full(4, np.nan, np.float32))
    assert not gone.encode(torch.full((4,), torch.nan)).any()
    flat = fit_column("age", np.full(4, 70.3, np.float32))
    assert flat.encode(torch.full((4,), 70.3)).abs().max() < 1e-4
    no_sex = fit_column("sex", np.full(4, np.nan, np.float32), ("F",))
    assert no_sex.width == 1


def test_columns_come_back_from_settings_and_bad_ones_are_refused():
    columns, _ = covariates()
    plain = [vars(column) for column in columns]
    assert columns_of(plain) == columns
    for change in (
        {"scale": 0},
        {"centre": [float("nan")]},
        {"centre": "x"},
        {"categories": ["a"]},
    ):
        wrong = {**plain[1], **change}
        with pytest.raises(ConfigError):
            columns_of([wrong])
    with pytest.raises(ConfigError, match="describe no column"):
        columns_of([{"name": "age"}])


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(0)
    age, sex = rng.normal(60, 10, 60), np.array([category_code(s) for s in "FM" * 30])
    age[::7] = np.nan
    values = np.stack([age, sex], axis=1).astype(np.float32)
    columns = (fit_column("age", values[:, 0]), fit_column("sex", values[:, 1], ("F", "M")))
    return columns, torch.from_numpy(values), np.nan_to_num(age, nan=60) + rng.normal(0, 8, 60)


def test_the_first_fit_is_logistic_regression(many):
    columns, values, score = many
    model, task = CovariateModel(columns, 1), BinaryTask(("label",), ("no", "yes"))
    assert not model(values).any()
    target = torch.from_numpy((score > 60).astype(np.int64))
    model.fit(values, lambda logits: task.loss(logits, target))
    oracle = LogisticRegression(tol=1e-8).fit(model.encode(values).numpy(), target.numpy())
    np.testing.assert_allclose(model.linear.weight.detach(), oracle.coef_, atol=2e-3)
    np.testing.assert_allclose(model.linear.bias.detach(), oracle.intercept_, atol=2e-3)


def test_the_first_fit_is_ridge_regression(many):
    columns, values, score = many
    model, task = CovariateModel(columns, 1), RegressionTask(("value",))
    target = torch.from_numpy(((score - score.mean()) / score.std()).astype(np.float32))
    model.fit(values, lambda logits: task.loss(logits, target))
    # The loss is the mean square, without a half.
    oracle = Ridge(alpha=0.5).fit(model.encode(values).numpy(), target.numpy())
    np.testing.assert_allclose(model.linear.weight.detach()[0], oracle.coef_, atol=2e-3)


def test_the_first_fit_of_a_survival_task_has_no_slope_left(many):
    columns, values, score = many
    model, task = CovariateModel(columns, 1), CoxTask(("time", "event"))
    target = torch.from_numpy(np.stack([np.exp(-score / 20), score > 50], 1).astype(np.float32))

    def objective():
        penalty = model.linear.weight.square().sum() / (2 * len(values))
        return task.loss(model(values), target) + penalty

    model.fit(values, lambda logits: task.loss(logits, target))
    (slope,) = torch.autograd.grad(objective(), [model.linear.weight])
    assert slope.abs().max() < 1e-3
    assert model.linear.weight[0, 0] > 0.5
