"""Every YAML under configs/ is found by glob, parsed by the verb it is for, and instantiated."""

import csv
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Trainer

from slidenet.cli.flags import build_parser, parse_arguments
from slidenet.cli.training import call_of, training_parser
from slidenet.data.datamodule import read_bags
from slidenet.mil import FROM_CHECKPOINT
from slidenet.pipelines.fitting.fit import fit_inputs, make_classifier
from slidenet.pipelines.fitting.plan import read_arguments
from slidenet.pipelines.run import run
from slidenet.testing import write_feature_cohort

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RUN = sorted((CONFIGS / "run").glob("*.yaml"))
TRAIN = sorted((CONFIGS / "train").glob("*.yaml"))
OVERLAYS = {"loggers", "cluster", "sequence_parallel"}
"""What goes on top of another config."""


def test_no_config_is_left_out():
    assert set(CONFIGS.rglob("*.yaml")) == {*RUN, *TRAIN}
    assert RUN
    assert len(TRAIN) >= 10


@pytest.mark.parametrize("path", RUN, ids=lambda p: p.stem)
def test_run_configs_become_settings(path):
    parser = build_parser("run", run)
    call = parse_arguments(parser, run, ["--config", str(path)])
    assert {"slides", "out", "settings"} <= set(call)


@pytest.mark.parametrize("path", TRAIN, ids=lambda p: p.stem)
def test_train_configs_become_data_model_and_trainer(path, cohort, monkeypatch, tmp_path):
    monkeypatch.chdir(cohort)
    files = [CONFIGS / "train" / "abmil.yaml", path] if path.stem in OVERLAYS else [path]
    arguments = [word for file in files for word in ("--config", str(file))]
    arguments += ["--trainer.accelerator=cpu", f"--out={tmp_path}"]
    config = training_parser("slidenet train fit", "Test.").parse_args(arguments)
    call = call_of(config)
    if call["model"]["network"] == "gigapath":  # the released weights are gated
        call["model"]["network_settings"]["weights"] = FROM_CHECKPOINT
    groups = {name: call[name] for name in ("data", "model", "trainer")}
    wanted, plan, _ = read_arguments(call["settings"], {}, **groups)
    data = read_bags(wanted)
    model = make_classifier(data, plan.model)
    fit_inputs(model, data)
    assert model.task == data.task_record
    trainer = plan.trainer.make(tmp_path, [])
    assert isinstance(trainer, Trainer)
    assert trainer.max_epochs == config.trainer.max_epochs


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A folder with every table and features folder the configs name."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    for encoder, feature_dim in (("efficientnet_lite0", 8), ("gigapath", 1536)):
        made = write_feature_cohort(
            folder / encoder, num_patients=24, num_tiles=2, feature_dim=feature_dim
        )
        target = folder / "out" / "tile_features" / encoder
        target.parent.mkdir(parents=True, exist_ok=True)
        made.features.rename(target)
        with made.labels.open(newline="") as file:
            rows = list(csv.DictReader(file))
    patients = sorted({row["patient_id"] for row in rows})
    drawn = {
        patient: {
            "isup_grade": i % 6,
            "grade": 1 + i % 3,
            "months": round(float(rng.uniform(1, 100)), 1),
            "died": i % 2,
            "EGFR": i % 2,
            "KRAS": i // 2 % 2,
            "TP53": i // 4 % 2,
        }
        for i, patient in enumerate(patients)
    }
    full = [{**row, **drawn[row["patient_id"]]} for row in rows]
    _write(folder / "slides.csv", full)
    _write(folder / "panda.csv", full)
    parts = {p: ("test", "val", "train", "train")[i // 6 % 4] for i, p in enumerate(patients)}
    split = [{"slide_id": r["slide_id"], "split": parts[r["patient_id"]]} for r in rows]
    _write(folder / "panda_split.csv", split)
    demo = folder / "train_demo_output"
    (demo / "cohort").mkdir(parents=True)
    _write(demo / "cohort" / "slides.csv", full)
    (demo / "out").symlink_to(folder / "out")
    return folder


def _write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
