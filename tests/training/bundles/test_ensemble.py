"""Ensembles: the mean of their members, out of one file, and clear refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, IdentityMismatchError, StoreError
from slidenet.tasks import BreslowBaseline, Calibration
from slidenet.training import Ensemble, SlideClassifier, load_bundle, save_bundle, save_ensemble
from slidenet.training.bundles.ensemble import OutOfFold, check_members, disagreement, mean_of

FEATURES = {"encoder": "resnet50", "target_mpp": 0.5}


def write_members(folder, task, count=3, **changes):
    """Bundles of networks with other weights each."""
    paths = []
    for seed in range(count):
        torch.manual_seed(seed)
        module = SlideClassifier(task, 6, "mean")
        calibration = changes.get("calibration", Calibration())
        if task.needs_baseline:
            times = (1.0 + seed, 5.0)
            calibration = Calibration(baseline=BreslowBaseline((1.0, 4.0), (0.2, 0.6), times))
        paths.append(folder / f"{seed}.slidenet")
        save_bundle(
            paths[-1],
            module,
            features_identity=FEATURES,
            calibration=calibration,
            training={"bag": "slide", "seed": seed},
        )
    return paths


def write_ensemble(path, members, **more):
    names = [f"fold_{i:02d}" for i in range(len(members))]
    settings = {"calibration": Calibration(), "training": {"bag": "slide"}, **more}
    save_ensemble(path, members, names=names, **settings)


def test_it_predicts_the_mean_of_its_members(task, cohort, tmp_path):
    loader, _ = cohort
    members = write_members(tmp_path, task)
    write_ensemble(tmp_path / "e.slidenet", members)
    model = load_bundle(tmp_path / "e.slidenet")
    assert isinstance(model, Ensemble)
    assert (model.task, model.features_identity) == (task, FEATURES)
    batch = next(iter(loader(task)))
    alone = [load_bundle(path) for path in members]
    if task.needs_baseline:  # reported at the times of the first, to be averaged
        baselines = [replace(m.calibration.baseline, report_times=(1.0, 5.0)) for m in alone]
        alone = [
            replace(m, calibration=Calibration(baseline=b))
            for m, b in zip(alone, baselines, strict=True)
        ]
    parts = [member.predict(batch) for member in alone]
    found = model.predict(batch)
    spread = []
    for name, array in found.arrays.items():
        stacked = np.stack([part.arrays[name] for part in parts]).astype(np.float64)
        np.testing.assert_allclose(array, stacked.mean(0), rtol=1e-6)
        assert array.dtype == np.float32
        spread.append((name, stacked.std(0).reshape(len(array), -1).max(1)))
    wanted = dict(spread)
    first = next(n for n in ("probabilities", "value", "survival", "risk") if n in wanted)
    np.testing.assert_allclose(disagreement(parts), wanted[first])
    assert mean_of(parts).survival_times == found.survival_times


def test_the_same_members_give_the_same_bytes_and_all_is_kept(cohort, tmp_path):
    _, tasks = cohort
    members = write_members(tmp_path, tasks["binary"], 2)
    rows = OutOfFold(
        torch.tensor([0, 0, 1]),
        torch.tensor([0, 1, 2]),
        torch.tensor([0, 1, 1]),
        torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]),
    )
    for name in ("one", "other"):
        write_ensemble(
            tmp_path / name, members, calibration=Calibration(threshold=0.4), out_of_fold={"": rows}
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    model = load_bundle(tmp_path / "one")
    assert model.calibration == Calibration(threshold=0.4)
    assert model.training == {"bag": "slide"}
    assert [member.training["seed"] for member in model.members] == [0, 1]
    for name, tensor in rows.tensors().items():
        assert torch.equal(model.out_of_fold[""].tensors()[name], tensor)

    for change in (
        {"member": torch.tensor([0, 0, 2])},
        {"member": torch.tensor([0.0, 0.0, 1.0])},
        {"target": torch.tensor([0, 1, -1])},
        {"patient": torch.tensor([0, 1])},
        {"predicted": torch.full((3, 2), torch.nan)},
        {"predicted": torch.ones(3)},
    ):
        write_ensemble(tmp_path / "bad", members, out_of_fold={"": replace(rows, **change)})
        with pytest.raises(StoreError, match=r"out-of-fold predictions in .*bad do not fit"):
            load_bundle(tmp_path / "bad")


def test_files_that_are_no_ensemble_are_refused(cohort, tmp_path):
    _, tasks = cohort
    members = write_members(tmp_path, tasks["binary"], 2)
    write_ensemble(tmp_path / "e", members)
    whole = torch.load(tmp_path / "e", weights_only=True)
    too_high = whole["content"].replace('"threshold":null', '"threshold":5')
    of_patients = whole["content"].replace('"bag":"slide"', '"bag":"patient"')
    one_name = whole["content"].replace("fold_01", "fold_00")
    for change, message in (
        ({"version": 2}, "of version 2"),
        ({"content": "[]"}, "does not describe a model"),
        ({"content": "{}"}, "lacks names, targets"),
        ({"content": whole["content"][:-1] + ',"unheard_of":1}'}, "holds unheard_of"),
        ({"unheard_of": 1}, "holds unheard_of"),
        ({"members": whole["members"] * 500}, "larger than the file"),
        ({"members": whole["members"][:1]}, "does not describe a model"),
        ({"members": ["a", "b"]}, "does not describe a model"),
        ({"out_of_fold": {"": {}}}, "not complete"),
        ({"out_of_fold": 3}, "does not describe a model"),
        ({"content": too_high}, "threshold is 5"),
        ({"content": of_patients}, "training.bag is 'patient', and that of its members 'slide'"),
        ({"content": one_name}, "two members of one name"),
    ):
        torch.save({**whole, **change}, tmp_path / "bad")
        with pytest.raises((StoreError, ConfigError), match=message):
            load_bundle(tmp_path / "bad")


def test_members_that_do_not_fit_are_refused_naming_both(cohort, tmp_path):
    _, tasks = cohort
    ours, other = (load_bundle(path) for path in write_members(tmp_path, tasks["binary"], 2))
    check_members({"a": ours, "b": other})
    with pytest.raises(ConfigError, match="an ensemble of 1 model"):
        check_members({"a": ours})
    (tmp_path / "cox").mkdir()
    cox = load_bundle(write_members(tmp_path / "cox", tasks["cox"], 1)[0])
    with pytest.raises(ConfigError, match=r"b predicts a cox task .* and a a binary task"):
        check_members({"a": ours, "b": cox})
    with pytest.raises(IdentityMismatchError, match=r"a and b take different features .*uni"):
        check_members({"a": ours, "b": replace(other, features_identity={"encoder": "uni"})})
    with pytest.raises(ConfigError, match=r"a and b take different bags .*patient"):
        check_members({"a": ours, "b": replace(other, training={"bag": "patient"})})
    wide = replace(other, module=SlideClassifier(tasks["binary"], 7, "mean"))
    with pytest.raises(IdentityMismatchError, match="6 and 7 per tile"):
        check_members({"a": ours, "b": wide})
