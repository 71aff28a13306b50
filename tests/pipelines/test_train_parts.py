"""Models of regions and of single tiles, from a table to the predictions of new slides."""

import csv

import numpy as np
import pytest

from slidenet.cli.main import main
from slidenet.core.records import TileRegions
from slidenet.testing.cohorts.feature_cohort import generate_features, write_generated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Features of Tumor differ from those of Stroma; no tile lies in Vessel."""
    made = generate_features(num_patients=20, num_tiles=16, feature_dim=8)
    for slide in made.slides:
        index = (np.arange(len(slide.coords)) % 3 == 0).astype(np.uint16)
        share = np.ones(len(index), np.float32)
        slide.regions = TileRegions(("Stroma", "Tumor", "Vessel"), index, share, "class")
        slide.features[index == 1] += 0.8
    return write_generated(made, tmp_path_factory.mktemp("cohort"))


@pytest.mark.parametrize("bag", ["region", "tile"])
def test_the_region_is_learned_and_predicted_on_new_slides(cohort, bag, tmp_path, capsys):
    run = tmp_path / "run"
    assert not main([
        "train", f"--data.labels={cohort.labels}", f"--data.features={cohort.features}",
        f"--data.bag={bag}", "--data.label-columns=[region]", "--data.batch-size=16",
        "--model.network=mean", "--model.learning-rate=0.05", "--trainer.max-epochs=10",
        "--trainer.accelerator=cpu", f"--out={run}",
    ])  # fmt: skip
    out = tmp_path / "new"
    new = [f"--slides={cohort.labels}", f"--features={cohort.features}", f"--out={out}"]
    assert not main(["predict", f"--bundle={run / 'model.slidenet'}", *new, "--device=cpu"])
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert all(row["bag_id"].count(":") == 1 for row in rows)
    assert {row["called"] for row in rows} == {"Stroma", "Tumor"}
    if bag == "region":
        right = [row["called"] == row["bag_id"].partition(":")[2] for row in rows]
        assert np.mean(right) == 1
        assert "2 bags; no readable tile lies in Vessel" in capsys.readouterr().out
    capsys.readouterr()
    assert main(["predict", f"--bundle={run / 'model.slidenet'}", *new, "--by-patient"]) == 2
    assert "leave --by-patient away" in capsys.readouterr().err
