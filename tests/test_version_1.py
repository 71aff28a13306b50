"""What version 0.1.0 wrote before the rooms were moved (format 1): read, resumed, predicted from.

`fixtures/version_1.tar.xz` holds an output folder of one generated slide, a cohort of features, a
finished run and a cross-validation. They stay as they are: later versions must read them.
"""

import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import slidenet
from slidenet.core.errors import IdentityMismatchError
from slidenet.pipelines.inspection.validate import validate
from slidenet.stores import (
    FeatureWriter,
    open_features,
    read_slide_embedding,
    read_tile_set,
    write_slide_embedding,
    write_tile_set,
)

ARCHIVE = Path(__file__).parent / "fixtures" / "version_1.tar.xz"
SETTINGS = {
    "labels": "cohort/labels.csv",
    "features": "cohort/features",
    "accelerator": "cpu",
    "network_settings": {"hidden_dim": 16, "attention_dim": 8},
}


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder as it was, which is also the working directory, since it holds relative paths."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_its_files_are_sound(old):
    files = sorted((old / "out").rglob("*.h5"))
    assert len(files) == 3
    assert validate(files).exit_code == 0


def test_its_files_are_written_again_byte_for_byte(old, tmp_path):
    tile_set = read_tile_set("out/tiles/slide1.h5")
    again = write_tile_set(tmp_path / "again" / "slide1.h5", tile_set)
    assert again.read_bytes() == Path("out/tiles/slide1.h5").read_bytes()
    file = open_features("out/tile_features/efficientnet_lite0/slide1.h5")
    with FeatureWriter(
        tmp_path / "features" / "slide1.h5", tile_set, file.feature_dim, "float16",
        file.identity, file.encoder, 64,
    ) as writer:  # fmt: skip
        writer.append(file.features[:], file.status)
        assert writer.finish().read_bytes() == file.path.read_bytes()
    done = Path("out/slide_embeddings/efficientnet_lite0/mean/slide1.h5")
    one = read_slide_embedding(done)
    again = write_slide_embedding(
        tmp_path / "mean.h5", one.slide_embedding, slide_id="slide1", fingerprint=one.fingerprint,
        identity=one.identity, encoder_identity=one.encoder, num_tiles=one.num_tiles, version=1,
    )  # fmt: skip
    assert again.read_bytes() == done.read_bytes()


def test_its_folder_is_finished_in_the_old_way(old, caplog):
    shutil.copy("slide1.tiff", "slide2.tiff")
    slides = ["slide1.tiff", "slide2.tiff"]
    report = slidenet.preprocess(slides, "out", tile_size_px=128, isolate=False)
    assert [outcome.status for outcome in report.outcomes] == ["already done", "done"]
    assert caplog.text.count("was begun with reading 1") == 1
    first, second = (read_tile_set(f"out/tiles/slide{number}.h5") for number in (1, 2))
    assert second.identity == first.identity
    assert second.geometry.reading == 1
    np.testing.assert_array_equal(second.coords, first.coords)
    with pytest.raises(IdentityMismatchError, match="holds tiles of another reading"):
        slidenet.preprocess(["slide1.tiff"], "out", tile_size_px=128, reading=2)


@pytest.mark.slow
def test_its_features_are_made_again_byte_for_byte(old):
    features = Path("out/tile_features/efficientnet_lite0/slide1.h5")
    before = features.read_bytes()
    features.rename(features.with_name("another.h5"))  # by whose like the folder is known as begun
    assert slidenet.embed_tiles("slide1.tiff", "out").exit_code == 0
    assert features.read_bytes() == before
    embedding = Path("out/slide_embeddings/efficientnet_lite0/mean/slide1.h5")
    before = embedding.read_bytes()
    embedding.unlink()
    assert slidenet.embed_slides("slide1.tiff", "out").exit_code == 0
    assert embedding.read_bytes() == before


def test_its_features_and_embeddings_are_read(old):
    file = slidenet.read_features("out/tile_features/efficientnet_lite0/slide1.h5")
    ids, matrix = slidenet.read_slide_embeddings("out/slide_embeddings/efficientnet_lite0/mean")
    assert ids == ["slide1"]
    assert np.allclose(matrix[0], file.features[:].astype(np.float64).mean(axis=0), atol=1e-3)


def test_its_output_folder_is_already_done(old):
    before = contents(old / "out")
    report = slidenet.run("slide1.tiff", "out", tile_size_px=128)
    statuses = {outcome.status for stage in report.stages for outcome in stage.outcomes}
    assert statuses == {"already done"}
    after = contents(old / "out")
    reports = {name for name in after if name == "run.json" or name.startswith("runs/")}
    assert {n: b for n, b in after.items() if n not in reports} == {
        n: b for n, b in before.items() if n not in reports
    }


@pytest.mark.parametrize("bundle", ["run", "cv/fold_00", "cv/fold_02"])
def test_its_bundles_predict_what_they_predicted(old, bundle):
    known = "predictions_test.csv" if bundle == "run" else "predictions.csv"
    wanted = (old / bundle / known).read_text().splitlines()
    slidenet.predict(
        f"{bundle}/model.slidenet", "cohort/labels.csv", "new", features="cohort/features"
    )
    found = dict(rows((old / "new" / "predictions.csv").read_text().splitlines()))
    for bag_id, probability in rows(wanted):
        assert found[bag_id] == pytest.approx(probability, abs=1e-6)


def rows(lines):
    """bag_id and the probability of the positive class of each line of a predictions file."""
    header, *rest = (line.split(",") for line in lines)
    for cells in rest:
        yield cells[header.index("bag_id")], float(cells[header.index("prob_1")])


def test_its_run_begun_in_its_time_ends_in_the_same_model(old):
    (old / "again").mkdir()
    shutil.copy("run/plan.json", "again/plan.json")  # as if killed in its first epoch
    slidenet.train("again", max_epochs=4, **SETTINGS)
    assert Path("again/plan.json").read_bytes() == Path("run/plan.json").read_bytes()
    for name in ("metrics.csv", "predictions_test.csv"):
        for found, wanted in zip(cells(f"again/{name}"), cells(f"run/{name}"), strict=True):
            # Another processor adds in another order: the last digits are not for ever.
            is_number = isinstance(wanted, float)
            assert found == (pytest.approx(wanted, rel=1e-4) if is_number else wanted)


def cells(path):
    """Every cell of a table, row by row with its ends; what has decimals as a float."""
    found = re.split(r"(,|\n)", Path(path).read_text())
    return [float(cell) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell) else cell for cell in found]


@pytest.mark.slow
def test_its_cross_validation_is_recognised_as_done(old):
    shutil.rmtree("cv/fold_01")  # as if it had been killed before the last fold
    before = contents(old / "cv")
    before.pop("predictions.csv")
    slidenet.crossval("cv", max_epochs=3, num_folds=3, **SETTINGS)
    after = contents(old / "cv")
    assert {name: after[name] for name in before} == before
    assert (old / "cv" / "predictions.csv").read_text().startswith("bag_id,patient_id,fold,label")
