"""Probes beside a network and as the network: honest, resumed, and never the end of a run."""

import json

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.data import BagDataset, Split, collate_bags
from slidenet.data.datamodule import read_bags
from slidenet.evaluation import Predictions
from slidenet.pipelines.crossval import crossval
from slidenet.pipelines.fitting.plan import read_arguments
from slidenet.pipelines.probing.as_network import data_to_fit
from slidenet.pipelines.probing.bag_statistics import read_statistics
from slidenet.pipelines.probing.beside_network import (
    PROBES_NAME,
    ProbeWork,
    limits_of,
    probe_sections,
)
from slidenet.pipelines.train import train
from slidenet.tasks import BinaryTask, CoxTask, PredictionArrays, RegressionTask
from slidenet.testing import write_feature_cohort
from slidenet.training import load_bundle


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=24, num_tiles=8, feature_dim=5
    )


@pytest.fixture(scope="module")
def bags(cohort):
    return read_bags(labels=cohort.labels, features=cohort.features)


def guessed(data, *, folds=None):
    """A network that gives every test bag the same probability."""
    tested = data.bags("test")
    return Predictions(
        data.task_record,
        [bag.bag_id for bag in tested],
        [data.label_table.patient_of(bag.bag_id) for bag in tested],
        data.targets("test"),
        PredictionArrays(np.full((len(tested), 2), 0.5)),
        folds,
    )


def plan(**settings):
    given = {"labels": "x", "features": "x", **settings}
    return read_arguments(None, given, data=None, model=None, trainer=None)[1]


def test_a_network_is_told_what_it_does_not_beat(bags, tmp_path):
    (section,) = probe_sections(bags, [bags.split], [tmp_path], {"": guessed(bags)}, plan())
    assert section.title == "Beside the network: probes"
    assert section.lines[0].startswith("abmil does not beat ")
    names = [row[0] for row in section.rows]
    kinds = ["logistic probe", "SVM probe", "nearest-neighbour probe"]
    assert names == ["abmil", "chosen probe", *kinds]
    assert float(section.rows[1][1]) > 0.7
    assert (
        probe_sections(bags, [bags.split], [tmp_path], {"": guessed(bags)}, plan(probes=False))
        == []
    )
    assert probe_sections(bags, [bags.split], [tmp_path], {}, plan()) == []


def test_probes_of_a_fold_are_kept_and_damaged_ones_fitted_again(bags, tmp_path, monkeypatch):
    first = ProbeWork(bags, 0).run(bags.split, tmp_path)[""]
    path = tmp_path / PROBES_NAME
    whole = path.read_bytes()
    reads = []
    module = "slidenet.pipelines.probing.beside_network.read_statistics"
    monkeypatch.setattr(module, lambda *a: reads.append(1) or read_statistics(*a))
    again = ProbeWork(bags, 0).run(bags.split, tmp_path)[""]
    assert vars(again) == vars(first)
    assert reads == []
    content = json.loads(whole)
    content["probes"][""]["logits"]["svm"].pop()
    for damaged in (whole[: len(whole) // 2], b"[]", b'{"identity": 1}', json.dumps(content)):
        path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
        ProbeWork(bags, 0).run(bags.split, tmp_path)
        assert path.read_bytes() == whole
    assert len(reads) == 4
    ProbeWork(bags, 1).run(bags.split, tmp_path)
    assert len(reads) == 5, "another seed is another choice"


@pytest.mark.slow
def test_probes_never_see_the_bags_they_are_judged_on(bags, tmp_path):
    """What a probe says of the other test bags does not depend on one of them."""
    work = ProbeWork(bags, 0)
    fewer = Split(bags.split.train, bags.split.val, bags.split.test[1:])
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    all_of_them = work.run(bags.split, tmp_path / "a")[""]
    others = work.run(fewer, tmp_path / "b")[""]
    dropped = [bag.bag_id for bag in bags.bags("test")].index(bags.split.test[0])
    for kind, logits in all_of_them.logits.items():
        np.testing.assert_allclose(np.delete(logits, dropped, axis=0), others.logits[kind])


def test_bags_are_read_once_and_exactly(bags):
    chosen = bags.bags("test")
    found = read_statistics(bags, chosen)
    batch = collate_bags([BagDataset(chosen)[i] for i in range(len(chosen))])
    for i, bag in enumerate(chosen):
        tiles = batch.features[i][batch.mask[i]].double()
        mean, deviation = tiles.mean(dim=0), tiles.std(dim=0, correction=0)
        np.testing.assert_allclose(found.of([bag.bag_id], "mean")[0], mean, rtol=1e-12)
        both = torch.cat([mean, deviation])
        np.testing.assert_allclose(found.of([bag.bag_id], "mean_std")[0], both, rtol=1e-9)


@pytest.mark.slow
def test_as_the_network_a_probe_learns_from_val_too(bags):
    merged = data_to_fit(bags, "probe")
    assert set(merged.split.train) == {*bags.split.train, *bags.split.val}
    assert merged.split.val == ()
    assert merged.split.test == bags.split.test
    assert data_to_fit(bags, "abmil") is bags


@pytest.mark.slow
def test_a_probe_becomes_a_bundle(cohort, tmp_path):
    call = {"labels": cohort.labels, "features": cohort.features, "network": "probe"}
    found = train(tmp_path / "a", **call, accelerator="cpu")
    assert found.metrics["test"]["auroc"] > 0.7
    assert list(found.metrics) == ["test"], "val was learnt from"
    bundle = load_bundle(tmp_path / "a" / "model.slidenet")
    assert 0 < bundle.calibration.threshold < 1
    settings = bundle.module.hparams["network_settings"]
    assert settings["predicts"] == "labels"
    section = next(s for s in found.sections if s.title == "Probes chosen")
    assert section.rows[0][1] == "1"
    train(tmp_path / "b", **call, accelerator="cpu", batch_size=5)
    assert train(tmp_path / "a", **call, accelerator="cpu").metrics == found.metrics
    with pytest.raises(
        ConfigError, match=r"kind 'ridge' of the probe for a binary task.*auto, log"
    ):
        train(tmp_path / "c", **call, network_settings={"kind": "ridge"})
    with pytest.raises(ConfigError, match=r"--data\.max-tiles with the network probe"):
        train(tmp_path / "c", **call, max_tiles=3)
    with pytest.raises(ConfigError, match=r"--model\.feature-scaling standard with the network"):
        train(tmp_path / "c", **call, feature_scaling="standard")
    assert not (tmp_path / "c").exists()
    search = {"network_settings.kind": ["svm", "knn"]}
    with pytest.raises(ConfigError, match="a search among 2 settings of the network probe"):
        crossval(tmp_path / "c", **call, search=search)


@pytest.mark.slow
def test_the_chosen_probe_beside_a_network_is_the_one_that_can_be_the_model(cohort, tmp_path):
    call = {"labels": cohort.labels, "features": cohort.features, "accelerator": "cpu"}
    found = crossval(tmp_path / "mean", **call, network="mean", num_folds=2, max_epochs=1)
    section = next(s for s in found.sections if s.title == "Beside the network: probes")
    own = crossval(tmp_path / "probe", **call, network="probe", num_folds=2)
    chosen = np.mean([own.folds[fold]["auroc"] for fold in (0, 1)])
    assert section.rows[1][:2] == ("chosen probe", f"{chosen:.3f}")
    for fold in ("fold_00", "fold_01"):
        beside = json.loads((tmp_path / "mean" / fold / PROBES_NAME).read_text())["probes"][""]
        model = json.loads((tmp_path / "probe" / fold / "probe.json").read_text())
        assert beside["words"][beside["best"]] == model["chosen"]


@pytest.mark.slow
def test_a_class_without_patients_to_choose_by_ends_no_run(cohort, tmp_path):
    lines = cohort.labels.read_text().splitlines()
    header = lines[0].split(",")
    place, patient = header.index("label"), header.index("patient_id")
    cells = [line.split(",") for line in lines[1:]]
    positive = list(dict.fromkeys(c[patient] for c in cells if c[place] == "1"))[:2]
    kept = [c for c in cells if c[place] == "0" or c[patient] in positive]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join([lines[0], *map(",".join, kept)]) + "\n")
    call = {"labels": table, "features": cohort.features, "max_epochs": 1, "accelerator": "cpu"}
    for network in ("mean", "probe"):
        found = crossval(
            tmp_path / network, **call, network=network, num_folds=2, inner_val_fraction=0
        )
        assert set(found.folds) == {0, 1}


def test_what_many_bags_leave_out_is_said():
    binary, value = BinaryTask(("y",), ("0", "1")), RegressionTask(("y",))
    assert limits_of(2000, binary) == []
    (line,) = limits_of(2001, binary)
    assert line.startswith("Not tried: the SVM and nearest-neighbour probe")
    assert "2,001" in line
    assert limits_of(6000, value)[1] == (
        "Fitted on 5,000 of the 6,000 bags, evenly spread over the table."
    )
    assert limits_of(3000, CoxTask(("t", "e"))) == []
