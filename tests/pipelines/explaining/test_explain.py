"""explain: maps of slides, patients, regions and feature sets; what resumes and what is refused."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, UnknownNameError
from slidenet.core.records import TileRegions
from slidenet.explanation.methods import REVISIONS
from slidenet.pipelines.applying.ensembles import make_ensemble
from slidenet.pipelines.explaining.methods import settle_methods
from slidenet.stores import read_tile_maps, validate_file
from slidenet.tasks import Calibration, MulticlassTask, RegressionTask
from slidenet.testing import write_feature_cohort
from slidenet.testing.cohorts.edited import edited
from slidenet.testing.cohorts.feature_cohort import generate_features, write_slide_file
from slidenet.training import load_bundle, save_bundle


def maps_of(out, slide_id, folder="h5"):
    return read_tile_maps(out / "explanations" / folder / f"{slide_id}.h5")


def outcome(report):
    """Of the only row."""
    (one,) = report.stages[-1].outcomes
    return one


def one_row(folder, slide_id, path="gone.tif"):
    """A table of one slide, whose file is not there."""
    table = folder / "one.csv"
    table.write_text(f"slide_id,slide_path,label\n{slide_id},{folder / path},1\n")
    return table


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="package")
def bundle(make_bundle, tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle") / "model.slidenet")


def test_every_slide_has_maps_that_add_up_and_controls_beside(run, bundle, tmp_path):
    report = run(bundle)
    assert report.exit_code == 0
    assert [o.status for o in report.stages[-1].outcomes] == ["done"] * 4
    assert f"the maps lie in {tmp_path / 'out' / 'explanations'}" in report.table()
    bias = load_bundle(bundle).module.network.head.bias.item()
    for slide_id in ("slide_000", "slide_003"):
        maps = maps_of(tmp_path / "out", slide_id)
        assert maps.methods == ("evidence", "single_tile", "control", "untrained")
        assert [one.is_evidence for one in maps.maps] == [True, True, False, False]
        assert maps.targets == ("1",)
        evidence = maps.of("evidence", "1")
        logit = maps.prediction[slide_id]["logits"]["1"]
        assert evidence.values.sum() + bias == pytest.approx(logit, abs=1e-5)
        assert set(evidence.details["agreement"]) == {"single_tile", "control", "untrained"}
        assert "faithfulness" not in evidence.details
        assert validate_file(tmp_path / "out" / "explanations" / "h5" / f"{slide_id}.h5") == []
    stage = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]["explain"]
    assert [one["status"] for one in stage["slides"]] == ["done"] * 4


@pytest.mark.slow
def test_a_second_call_keeps_what_is_there_and_another_method_is_refused(
    run, bundle, cohort, tmp_path, monkeypatch
):
    features = shutil.copytree(cohort.features, tmp_path / "features")
    table = one_row(tmp_path, "slide_000")
    call = {"slides": table, "features": features, "controls": False}
    run(bundle, **call)
    path = tmp_path / "out" / "explanations" / "h5" / "slide_000.h5"
    before = path.read_bytes()
    assert outcome(run(bundle, **call)).status == "already done"
    refused = outcome(run(bundle, methods=["attention"], **call))
    assert refused.status == "failed"
    assert re.search(r"made with other settings \(methods: .*--overwrite", refused.detail)
    with monkeypatch.context() as patch:  # a method that has changed since is another method
        patch.setitem(REVISIONS, "single_tile", 2)
        refused = outcome(run(bundle, **call))
    assert re.search(r"made with other settings \(revisions.*--overwrite", refused.detail)
    assert path.read_bytes() == before
    with edited(features / "slide_000.h5") as h5:  # features made again are other features
        h5["features"][0] = 1
    assert outcome(run(bundle, **call)).status == "done"
    assert path.read_bytes() != before
    assert outcome(run(bundle, methods=["attention"], overwrite=True, **call)).status == "done"
    assert maps_of(tmp_path / "out", "slide_000").methods == ("attention",)


@pytest.mark.slow
def test_a_patient_is_one_bag_and_every_slide_of_theirs_has_its_map(run, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path / "m.slidenet", training={"bag": "patient"})
    report = run(bundle)
    assert [o.slide_id for o in report.stages[-1].outcomes] == ["patient_000", "patient_001",
                                                                "patient_002"]  # fmt: skip
    two = [maps_of(tmp_path / "out", name) for name in ("slide_002", "slide_003")]
    assert [list(one.prediction) for one in two] == [["patient_002"]] * 2
    bias = load_bundle(bundle).module.network.head.bias.item()
    total = sum(one.of("evidence", "1").values.sum() for one in two)
    logit = two[0].prediction["patient_002"]["logits"]["1"]
    assert total + bias == pytest.approx(logit, abs=1e-5)
    assert {o.status for o in run(bundle).stages[-1].outcomes} == {"already done"}


def test_regions_are_bags_and_tiles_in_none_have_no_value(run, make_bundle, cohort, tmp_path):
    training = {"bag": "region", "min_region_share": 0.5}
    bundle = make_bundle(tmp_path / "m.slidenet", training=training)
    features = tmp_path / "features"
    features.mkdir()
    slide = generate_features(num_patients=3, num_sites=1, num_tiles=16, feature_dim=8).slides[0]
    count = len(slide.coords)
    index = np.arange(count, dtype=np.uint16) % 3
    share = np.where(np.arange(count) < 3, 0.1, 1.0).astype(np.float32)
    regions = TileRegions(("a", "b", "c"), index, share, "name")
    write_slide_file(features / "slide_000.h5", replace(slide, regions=regions))
    report = run(bundle, slides=one_row(tmp_path, "slide_000"), features=features)
    assert outcome(report).detail.startswith("3 bags; evidence")
    maps = maps_of(tmp_path / "out", "slide_000")
    assert list(maps.prediction) == ["slide_000:a", "slide_000:b", "slide_000:c"]
    evidence = maps.of("evidence", "1")
    np.testing.assert_array_equal(np.isnan(evidence.values), np.arange(count) < 3)
    assert set(evidence.details["bags"]) == set(maps.prediction)
    bias = load_bundle(bundle).module.network.head.bias.item()
    of_b = evidence.values[(index == 1) & (share == 1)].sum() + bias
    assert of_b == pytest.approx(maps.prediction["slide_000:b"]["logits"]["1"], abs=1e-5)


@pytest.mark.slow
def test_a_slide_loses_what_its_drawn_regions_speak_for(run, make_bundle, tmp_path):
    features = tmp_path / "features"
    features.mkdir()
    slide = generate_features(num_patients=3, num_sites=1, num_tiles=16, feature_dim=8).slides[0]
    count = len(slide.coords)
    index = np.arange(count, dtype=np.uint16) % 2
    regions = TileRegions(("a", "b"), index, np.ones(count, np.float32), "name")
    write_slide_file(features / "slide_000.h5", replace(slide, regions=regions))
    call = {"slides": one_row(tmp_path, "slide_000"), "features": features, "formats": ["csv"]}
    run(make_bundle(tmp_path / "whole.slidenet"), **call)
    training = {"bag": "region", "min_region_share": 0.5}
    parts = tmp_path / "parts"
    run(make_bundle(tmp_path / "parts.slidenet", training=training), out=parts, **call)
    alone = {
        name: said["logits"]["1"] for name, said in maps_of(parts, "slide_000").prediction.items()
    }
    said = maps_of(tmp_path / "out", "slide_000").prediction["slide_000"]
    lost = said["without_region"]["a"]["1"]
    assert lost == pytest.approx(said["logits"]["1"] - alone["slide_000:b"], abs=1e-5)
    table = tmp_path / "out" / "explanations" / "csv" / "more" / "slide_000" / "regions.csv"
    assert [(row["region"], row["target"]) for row in rows_of(table)] == [("a", "1"), ("b", "1")]
    assert float(rows_of(table)[0]["lost_without_it"]) == pytest.approx(lost)


@pytest.mark.slow
def test_feature_sets_have_maps_of_their_own_and_add_up(run, make_bundle, cohort, tmp_path):
    bundle = make_bundle(tmp_path / "m.slidenet", more_feature_dims=[8])
    report = run(bundle, slides=one_row(tmp_path, "slide_000"), more_features=[cohort.features])
    assert report.exit_code == 0
    first = maps_of(tmp_path / "out", "slide_000")
    second = read_tile_maps(
        tmp_path / "out" / "explanations" / "features_2" / "h5" / "slide_000.h5"
    )
    network = load_bundle(bundle).module.network
    biases = [network.head.bias.item()]
    biases += [one.head.bias.item() for one in load_bundle(bundle).module.fusion.networks]
    total = sum(one.of("evidence", "1").values.sum() for one in (first, second)) + sum(biases)
    assert total == pytest.approx(first.prediction["slide_000"]["logits"]["1"], abs=1e-5)


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_its_members_and_says_where_they_disagree(
    run, make_bundle, tmp_path
):
    paths = [make_bundle(tmp_path / f"{i}.slidenet", seed=i) for i in range(2)]
    make_ensemble(paths, tmp_path / "both.slidenet")
    table = one_row(tmp_path, "slide_000")
    run(tmp_path / "both.slidenet", slides=table)
    both = maps_of(tmp_path / "out", "slide_000")
    values = []
    for i, path in enumerate(paths):
        run(path, slides=table, out=tmp_path / f"out_{i}")
        values.append(maps_of(tmp_path / f"out_{i}", "slide_000").of("evidence", "1").values)
    mean = both.of("evidence", "1")
    np.testing.assert_allclose(mean.values, np.mean(values, axis=0), atol=1e-6)
    np.testing.assert_allclose(
        both.of("spread:evidence", "1").values, np.std(values, axis=0), atol=1e-6
    )
    assert mean.details["members"] == 2


@pytest.mark.slow
def test_members_of_different_kinds_are_explained_by_what_applies_to_all(
    run, make_bundle, tmp_path
):
    kinds = ("abmil", "transmil")
    paths = [make_bundle(tmp_path / f"{name}.slidenet", network=name) for name in kinds]
    make_ensemble(paths, tmp_path / "both.slidenet")
    table = one_row(tmp_path, "slide_000")
    report = run(tmp_path / "both.slidenet", slides=table)
    assert "different kinds (abmil, transmil)" in report.table()
    assert maps_of(tmp_path / "out", "slide_000").methods[0] == "single_tile"
    with pytest.raises(
        ConfigError, match=r"--methods evidence .* member 2 \(transmil\): its logits"
    ):
        run(tmp_path / "both.slidenet", slides=table, methods=["evidence"])


@pytest.mark.slow
def test_what_is_called_all_or_named_is_explained(run, make_bundle, tmp_path):
    task = MulticlassTask(("label",), ("0", "1", "2"))
    bundle, table = make_bundle(tmp_path / "m.slidenet", task=task), one_row(tmp_path, "slide_000")
    run(bundle, slides=table)
    maps = maps_of(tmp_path / "out", "slide_000")
    assert list(maps.targets) == maps.prediction["slide_000"]["called"]
    run(bundle, slides=table, targets=["all"], out=tmp_path / "all")
    every = maps_of(tmp_path / "all", "slide_000")
    assert every.targets == ("0", "1", "2")
    for name in maps.targets:
        np.testing.assert_array_equal(
            every.of("evidence", name).values, maps.of("evidence", name).values
        )
    run(bundle, slides=table, targets=["2", "called"], out=tmp_path / "named")
    assert "2" in maps_of(tmp_path / "named", "slide_000").targets
    with pytest.raises(ConfigError, match=r"--targets tumour .* called .* all, or some of 0, 1, 2"):
        run(bundle, slides=table, targets=["tumour"])


@pytest.mark.slow
def test_a_value_is_explained_from_the_median_of_the_bag(run, make_bundle, tmp_path):
    task = RegressionTask(("age",))
    bundle = make_bundle(tmp_path / "m.slidenet", task=task, target_offset=60.0, target_scale=9.0)
    run(bundle, slides=one_row(tmp_path, "slide_000"))
    maps = maps_of(tmp_path / "out", "slide_000")
    alone = maps.of("single_tile", "age")
    assert alone.details["relative"] is True
    assert np.median(alone.values) == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_compare_lies_beside_and_says_how_alike_and_faithful_methods_are(
    run, bundle, tmp_path, cohort
):
    report = run(bundle, slides=one_row(tmp_path, "slide_000"), compare=True)
    maps = maps_of(tmp_path / "out", "slide_000", "compare/h5")
    assert maps.methods[:2] == ("evidence", "single_tile")
    assert maps.methods[-2:] == ("control", "untrained")
    assert f"{tmp_path / 'out' / 'explanations' / 'compare'}" in report.table()
    table = rows_of(tmp_path / "out" / "explanations" / "compare" / "agreement.csv")
    pairs = {(row["method"], row["other"]) for row in table}
    assert len(pairs) == len(maps.methods) * (len(maps.methods) - 1)
    assert maps.of("attention", "1").details["faithfulness"]["random_orders"] == 20
    run(bundle, slides=one_row(tmp_path, "slide_001"), compare=True)
    table = rows_of(tmp_path / "out" / "explanations" / "compare" / "agreement.csv")
    assert {row["slide_id"] for row in table} == {"slide_000", "slide_001"}
    with pytest.raises(ConfigError, match="--methods attention with --compare"):
        run(bundle, compare=True, methods=["attention"])


@pytest.mark.slow
def test_a_damaged_file_of_another_job_is_not_in_the_table_of_agreement(run, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path / "mean.slidenet", network="mean")
    folder = tmp_path / "out" / "explanations" / "compare"
    (folder / "h5").mkdir(parents=True)
    (folder / "h5" / "of_another_job.h5").write_bytes(b"half")
    call = {"slides": one_row(tmp_path, "slide_000"), "compare": True, "faithfulness": False}
    assert run(bundle, **call).exit_code == 0
    assert {row["slide_id"] for row in rows_of(folder / "agreement.csv")} == {"slide_000"}


@pytest.mark.slow
def test_a_slide_of_one_tile_lacks_some_methods_and_says_which(run, make_bundle, tmp_path):
    features = tmp_path / "features"
    features.mkdir()
    slide = generate_features(num_patients=3, num_sites=1, num_tiles=16, feature_dim=8).slides[0]
    one = replace(slide, features=slide.features[:1], coords=slide.coords[:1])
    write_slide_file(features / "slide_000.h5", one)
    bundle = make_bundle(tmp_path / "m.slidenet")
    call = {"slides": one_row(tmp_path, "slide_000"), "features": features}
    found = outcome(run(bundle, compare=True, **call))
    assert found.status == "done"
    assert re.search(r"no occlusion: group 0 .* holds all 1 tiles of the bag", found.detail)
    assert outcome(run(bundle, compare=True, **call)).detail == found.detail
    methods = maps_of(tmp_path / "out", "slide_000", "compare/h5").methods
    assert "single_tile" in methods
    assert "occlusion" not in methods
    alone = outcome(run(bundle, methods=["occlusion"], **call))
    assert "take smaller groups, or another method" in alone.detail


def test_bad_input_is_one_line_and_leaves_nothing(run, bundle, make_bundle, cohort, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean attention"):
        run(bundle, methods=["atention"])
    mean = make_bundle(tmp_path / "mean.slidenet", network="mean")
    with pytest.raises(ConfigError, match="--methods attention for this model: it weighs all"):
        run(mean, methods=["attention"])
    _, notes = settle_methods(load_bundle(mean), (), compare=True, controls=True)
    assert any("do not apply: attention (it weighs all tiles alike)" in note for note in notes)
    with pytest.raises(ConfigError, match="formats is 'png'; expected one of h5, csv"):
        run(bundle, formats=["png"])
    with pytest.raises(ConfigError, match="2 folders of features"):
        run(bundle, more_features=[cohort.features])
    other = tmp_path / "other"
    write_feature_cohort(other, num_patients=3, num_sites=1, num_tiles=16, feature_dim=5)
    table = one_row(tmp_path, "slide_000")
    report = run(bundle, slides=table, features=other / "features")
    assert "has 5 features per tile; expected the 8 that" in outcome(report).detail
    empty = tmp_path / "empty"
    empty.mkdir()
    slide = generate_features(num_patients=3, num_sites=1, num_tiles=16, feature_dim=8).slides[0]
    none = replace(slide, features=slide.features[:0], coords=slide.coords[:0])
    write_slide_file(empty / "slide_000.h5", none)
    report = run(bundle, slides=table, features=empty)
    assert "holds 0 tiles" in outcome(report).detail
    wild = load_bundle(bundle).module
    torch.nn.init.constant_(wild.network.head.weight, 1e38)
    save_bundle(
        tmp_path / "wild.slidenet", wild, features_identity=load_bundle(bundle).features_identity
    )
    report = run(tmp_path / "wild.slidenet", slides=table)
    assert "not finite" in outcome(report).detail
    left = (tmp_path / "out" / "explanations").rglob("*")
    assert not [path for path in left if path.is_file()]


def test_probabilities_of_tiles_take_no_temperature(run, bundle, tmp_path):
    """It was fitted to whole bags."""
    sure = load_bundle(bundle)
    calibrated = tmp_path / "calibrated.slidenet"
    save_bundle(
        calibrated,
        sure.module,
        features_identity=sure.features_identity,
        calibration=Calibration(temperature=4.0),
    )
    report = run(
        calibrated, slides=one_row(tmp_path, "slide_000"), methods=["single_tile"], formats=["csv"]
    )
    assert outcome(report).status == "done"
    rows = rows_of(tmp_path / "out" / "explanations" / "csv" / "slide_000.csv")
    logits = np.array([float(row["single_tile 1"]) for row in rows])
    chances = [float(row["prob_1"]) for row in rows]
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-logits)), rtol=1e-5)


@pytest.mark.slow
def test_every_format_is_made_once_and_what_is_missing_is_made(run, bundle, cohort, tmp_path):
    call = {"slides": one_row(tmp_path, "slide_000"), "num_top": 2}
    formats = ["csv", "geojson", "ome_tiff"]
    first = outcome(run(bundle, formats=formats, **call))
    assert "level-0 pixels, which is QuPath's frame unless the slide has bounds" in first.detail
    folder = tmp_path / "out" / "explanations"
    table = folder / "csv" / "slide_000.csv"
    header = list(rows_of(table)[0])
    assert header[:6] == ["minx", "miny", "width", "height", "tile", "prob_1"]
    for path in ("geojson/slide_000.geojson", "ome_tiff/slide_000.ome.tiff"):
        assert (folder / path).is_file()
    changed = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}
    assert outcome(run(bundle, formats=formats, **call)).status == "already done"
    table.unlink()
    again = outcome(run(bundle, formats=[*formats, "galleries"], **call))
    assert again.status == "done"
    assert (folder / "galleries" / "slide_000.png").is_file()
    assert table.is_file()
    same = folder / "geojson" / "slide_000.geojson"
    assert same.stat().st_mtime_ns == changed[same]
    # Maps of another method: all of it is made again.
    run(bundle, formats=formats, methods=["single_tile"], overwrite=True, **call)
    assert same.stat().st_mtime_ns != changed[same]
