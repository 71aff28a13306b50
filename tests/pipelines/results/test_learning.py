"""Which epoch was kept, and what is said of it."""

import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.pipelines.fitting.defaults import FitLength
from slidenet.pipelines.results.learning import Learning, flat_probabilities, learning_section
from slidenet.pipelines.train import train
from slidenet.testing.cohorts.feature_cohort import generate_features, write_generated


def learning(losses, *, least=1, most=None, lower=True):
    epochs = [{"epoch": float(i), "val_loss": v} for i, v in enumerate(losses)]
    length = FitLength(most or len(losses), None, least)
    return Learning.of_curve(epochs, "val_loss", length, lower_is_better=lower)


@pytest.mark.parametrize(
    ("losses", "settings", "kept", "said"),
    [
        ([0.6, 0.5, 0.4, 0.45], {}, 3, None),
        ([0.6, 0.7, 0.8], {}, 1, "the first that could be kept: val_loss was hardly better"),
        ([0.7, 0.6, 0.3, 0.8], {"least": 3}, 3, "the first that could be kept: val_loss was worse"),
        ([0.7, 0.6, 0.30, 0.31], {"least": 3}, 3, None),  # learnt, and as good later
        ([0.1, 0.7, 0.8, 0.9], {"least": 3}, 3, "no better later"),
        ([0.6, 0.5, 0.4], {}, 3, "the last: val_loss was still getting better"),
        ([0.6, 0.02, 0.01, 0.009, 0.008], {}, 5, None),  # what is left to gain does not matter
        ([0.6, 0.5, 0.4], {"most": 9}, 3, None),  # stopped by something else
        ([0.6, 0.5, 0.5, 0.9], {}, 2, None),  # the first of equals
        ([1.0, 1.0, 1.0], {"lower": False}, 1, None),
        ([0.6, 0.9, 0.7], {"lower": False}, 2, None),
        ([0.6], {}, 1, None),
        ([float("nan"), 0.6, 0.5, float("nan"), 0.55], {}, 3, None),  # as the checkpoint has it
    ],
)
def test_the_epoch_kept_and_what_it_tells(losses, settings, kept, said):
    found = learning(losses, **settings)
    assert found.kept_epoch == kept
    assert found.score == losses[kept - 1]
    assert (said is None and found.warning is None) or said in found.warning
    assert Learning(**found.identity()) == found


def test_without_validation_the_last_epoch_is_kept_without_a_word():
    found = learning([0.5, 0.4], lower=None)
    assert (found.kept_epoch, found.score, found.warning) == (2, None, None)


def test_probabilities_that_never_leave_the_base_rate_are_told():
    flat = np.array([[0.51, 0.49], [0.48, 0.52], [0.5, 0.5]])
    assert "all 3 bags lie within 0.030" in flat_probabilities(flat)
    assert flat_probabilities(np.array([[0.2, 0.8], [0.5, 0.5]])) is None
    assert flat_probabilities(None) is None
    assert flat_probabilities(flat[:1]) is None


@pytest.mark.slow
def test_raw_features_train_as_well_as_standardised_ones(tmp_path):
    made = generate_features(
        num_patients=40, slides_per_patient=(1,), num_tiles=16, feature_dim=12, signal=6.0
    )
    rng = np.random.default_rng(0)
    size, start = 10 ** rng.uniform(-3, 4, 12), rng.normal(0, 3e3, 12)
    settings = {"accelerator": "cpu", "batch_size": 8, "learning_rate": 1e-2, "max_epochs": 15}
    settings["network_settings"] = {"hidden_dim": 16, "attention_dim": 8}
    auroc = []
    for name, factor, offset in (("plain", 1.0, 0.0), ("raw", size, start)):
        for slide in made.slides:
            slide.features = (slide.features * factor + offset).astype(np.float32)
        cohort = write_generated(made, tmp_path / name)
        out, tables = tmp_path / f"{name}_run", (cohort.labels, cohort.features)
        report = train(out, labels=tables[0], features=tables[1], test_fraction=0.4, **settings)
        auroc.append(report.metrics["test"]["auroc"])
        assert "Epochs kept" in report.table()
        assert "Epochs kept" in (out / "results.md").read_text()
    assert min(auroc) > 0.8
    assert abs(auroc[1] - auroc[0]) < 0.03


def test_folds_are_named_where_there_are_several():
    fits = {"fold 0": learning([0.5, 0.6]), "fold 1": learning([0.5, 0.4, 0.6])}
    section = learning_section(fits, {"fold 0": None, "fold 1": "flat"})
    assert [line.split(":")[0] for line in section.lines] == ["fold 0", "fold 1"]
    assert section.rows == (
        ("fold 0", "1", "2", "0.5000", "the first that could be kept"),
        ("fold 1", "2", "3", "0.4000", ""),
    )


def test_how_a_fit_went_out_of_a_file_is_checked(tmp_path):
    whole = Learning(3, 5, None, 2, "val_loss", 0.5).identity()
    assert Learning.of_file(whole, tmp_path).identity() == whole
    for change in ({"kept_epoch": "3"}, {"finding": []}, {"finding": "x"}, {"more": 1}):
        with pytest.raises(StoreError, match="how its fit went"):
            Learning.of_file({**whole, **change}, tmp_path)
    with pytest.raises(StoreError, match="how its fit went"):
        Learning.of_file([1], tmp_path)
