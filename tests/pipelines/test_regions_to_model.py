"""From drawn regions to a trained model: cores of microarrays as bags, tiles by their class."""

import csv
import json

import pytest
from shapely.geometry import Point, mapping

from slidenet.cli.main import main
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.settings import EmbedTilesSettings
from slidenet.testing import Blob, Lesion, SyntheticSlide, with_overlays, write_pyramid

pytestmark = pytest.mark.slow

SIDE_PX, MPP, CORES, RADIUS = 1200, 2.0, ((300, 300), (900, 300), (300, 900), (900, 900)), 200


def circle(x, y, radius):
    return mapping(Point(x, y).buffer(radius, quad_segs=4))


def write_features(path, geometries_and_properties):
    features = [
        {"type": "Feature", "geometry": geometry, "properties": properties}
        for geometry, properties in geometries_and_properties
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def train(tmp_path, features, labels, *more, label="label"):
    assert not main([
        "train", f"--data.labels={labels}", f"--data.features={features}", *more,
        "--data.batch-size=16", "--model.network=mean", "--model.learning-rate=0.1",
        "--trainer.max-epochs=20", "--trainer.accelerator=cpu", f"--out={tmp_path / 'model'}",
    ])  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "model" / "predictions_test.csv").open()))
    probability = [name for name in rows[0] if name.startswith("prob")][-1]
    return [(row["bag_id"], row[label], float(row[probability])) for row in rows]


@pytest.fixture
def cut(tmp_path, colour_encoder):
    """Preprocesses and embeds the slides of a folder with the regions of another."""

    def make(*arguments):
        out = tmp_path / "out"
        slides, regions = tmp_path / "slides", tmp_path / "regions"
        assert not main([
            "preprocess", f"--slides={slides}", f"--out={out}", "--tile-size-px=64",
            f"--target-mpp={MPP}", f"--regions={regions}", *arguments,
        ])  # fmt: skip
        settings = EmbedTilesSettings(isolate=False)
        report = embed_tiles(slides, out, settings, tile_encoder=colour_encoder)
        assert not report.exit_code
        return out / "tile_features" / "colour"

    for name in ("slides", "regions"):
        (tmp_path / name).mkdir()
    return make


def test_each_core_of_a_microarray_is_a_bag_with_its_own_label(tmp_path, cut):
    """Of ten arrays of four cores one core each is missing; some of the rest are lesions."""
    table = [["slide_id", "patient_id", "region", "label"]]
    for i in range(10):
        name = f"array_{i}"
        truth = SyntheticSlide(
            SIDE_PX, SIDE_PX, tuple(Blob(x, y, RADIUS, RADIUS) for x, y in CORES), seed=i
        )
        ill = [k for k in range(4) if (i + k) % 2]
        lesions = [Lesion(*CORES[k], 0.9 * RADIUS, seed=i) for k in ill]
        painter = with_overlays(truth, *lesions)
        write_pyramid(tmp_path / "slides" / f"{name}.tiff", SIDE_PX, SIDE_PX, MPP, painter)
        cores = []
        for k, (x, y) in enumerate(CORES):
            core = {"objectType": "tma_core", "name": f"{'AB'[k // 2]}-{k % 2 + 1}"}
            cores.append((circle(x, y, RADIUS + 20), core | {"isMissing": k == i % 4}))
            if k != i % 4:
                label = "tumour" if k in ill else "normal"
                table.append([name, f"p{i}", core["name"], label])
        write_features(tmp_path / "regions" / f"{name}.geojson", cores)
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(map(",".join, table)) + "\n")
    features = cut("--region-by=core")
    found = train(tmp_path, features, labels, "--data.bag=core")
    assert len(found) == 6  # two patients of three cores
    assert {bag.partition(":")[2][:1] for bag, _, _ in found} == {"A", "B"}
    ill = [p for _, label, p in found if label == "tumour"]
    assert min(ill) > max(p for _, label, p in found if label == "normal")


def test_tiles_learn_the_class_they_lie_in(tmp_path, cut):
    table = ["slide_id"]
    for i in range(8):
        name = f"slide_{i}"
        truth = SyntheticSlide(SIDE_PX, SIDE_PX, (Blob(600, 600, 560, 560),), seed=i)
        painter = with_overlays(truth, Lesion(400 + 20 * i, 600, 250, seed=i))
        write_pyramid(tmp_path / "slides" / f"{name}.tiff", SIDE_PX, SIDE_PX, MPP, painter)
        write_features(
            tmp_path / "regions" / f"{name}.geojson",
            [
                (circle(400 + 20 * i, 600, 200), {"classification": {"name": "Tumor"}}),
                (circle(960, 600, 150), {"classification": {"name": "Stroma"}}),
                (circle(960, 600, 30), {"classification": {"name": "Ignore*"}}),
            ],
        )
        table.append(name)
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(table) + "\n")
    features = cut("--region-classes=[Tumor,Stroma]")
    found = train(
        tmp_path,
        features,
        labels,
        "--data.bag=tile",
        "--data.label-columns=[region]",
        label="region",
    )
    right = [(p > 0.5) == (label == "Tumor") for _, label, p in found]
    assert len(right) > 20
    assert sum(right) > 0.95 * len(right)
