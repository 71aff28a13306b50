"""`slidenet report`: one page from whatever lies in the folders."""

import html
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from slidenet.core.errors import ConfigError
from slidenet.evaluation import Origin, write_predictions
from slidenet.pipelines.fitting.seen import _digests
from slidenet.pipelines.report import report
from slidenet.training import load_bundle, save_bundle

QUICK = {"num_bootstrap": 5, "max_pictures": 2, "max_maps": 1}
ANCHORS = [
    "overview", "cohort", "quality", "resolution", "failures", "features", "training",
    "performance", "maps", "model-card", "provenance",
]  # fmt: skip


def section(text, anchor):
    """What a reader sees of a section."""
    inner = re.search(rf'<section id="{anchor}".*?</section>', text, re.DOTALL)[0]
    return html.unescape(re.sub(r"<[^>]+>", " ", inner))


def test_it_has_every_part(text):
    assert re.findall(r'<section id="([\w-]+)"', text) == ANCHORS
    assert text.count("Not there:") == 0
    assert "9 failed" not in section(text, "overview")
    assert "failed in preprocess" in section(text, "cohort")
    assert "the file is cut short: level 0 ends at byte 20,000" in section(text, "failures")
    assert "OME PhysicalSize" in section(text, "resolution")
    assert "1 of 64 columns have one value in all tiles" in section(text, "features")
    assert "95 % intervals of 20 bootstrap resamples of 6 patients" in section(text, "performance")
    assert "Predicted against true" in section(text, "performance")
    assert "attention of MSI (not evidence)" in section(text, "maps")
    assert "slides seen 12" in " ".join(section(text, "model-card").split())
    assert "Settings of preprocess" in section(text, "provenance")


EVALUATED = """\
m reaches an AUROC of 0.998 (95 % interval 0.987 to 1.000) on 60 bags of 30 patients.

**Do not quote this AUROC: \\<b\\>.**

## Metrics

| metric | value |
| --- | --- |
| AUROC | 0.998 |

## Not computed

- nothing of \\[sites\\]
- nothing else

![ROC curves; shaded: \\<i\\>](roc.png)

![Not there](../roc.png)
"""


def test_a_folder_of_evaluate_is_shown_as_it_was_judged(tmp_path):
    (tmp_path / "metrics.csv").write_text("metric,value\nAUROC,0.998\n")
    (tmp_path / "report.md").write_text(EVALUATED)
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "roc.png")
    written = report(tmp_path, **QUICK)
    page = written.path.read_text()
    said = " ".join(section(page, "performance").split())
    for words in (
        "As slidenet evaluate judged it, from predictions that lie elsewhere",
        "m reaches an AUROC of 0.998 (95 % interval 0.987 to 1.000) on 60 bags of 30 patients.",
        "Warning: Do not quote this AUROC: <b>.",
        "nothing of [sites]",
        "ROC curves; shaded: <i>",
    ):
        assert words in said
    assert page.count("<img") == 1
    assert "reaches an AUROC" in section(page, "overview")
    assert "report.md" in section(page, "provenance")
    assert "Performance" not in written.lacks
    (tmp_path / "metrics.csv").unlink()
    with pytest.raises(ConfigError, match="holds nothing that slidenet wrote"):
        report(tmp_path, to=tmp_path / "x.html", **QUICK)


def test_names_of_slides_and_classes_are_text(text):
    assert "<i>" not in text
    assert "b &amp; &lt;i&gt;b" in text
    assert "b & <i>b" in section(text, "quality")


def test_every_slide_has_its_picture_and_no_other_is_in_it(text):
    inner = re.search(r'<section id="quality".*?</section>', text, re.DOTALL)[0]
    assert inner.count("<img") == 6
    assert set(re.findall(r"<img src=\"(data:image/\w+)", inner)) == {"data:image/jpeg"}


@pytest.mark.slow
def test_the_same_folders_give_the_same_bytes(made, tmp_path):
    first, second = (
        report(made / "out", made / "run", to=tmp_path / f"{n}.html", **QUICK).path.read_bytes()
        for n in "ab"
    )
    assert first == second


@pytest.mark.slow
def test_no_picture_but_those_of_slides_is_in_it(copied):
    before = report(copied / "out", to=copied / "a.html", **QUICK).path.read_bytes()
    one = next((copied / "out" / "overlays").glob("*.jpg"))
    for name in ("label", "macro", "a_label", ".a"):
        shutil.copy(one, copied / "out" / "overlays" / f"{name}.jpg")
    assert report(copied / "out", to=copied / "b.html", **QUICK).path.read_bytes() == before


def test_what_is_not_shown_is_said(made, tmp_path):
    written = report(made / "out", to=tmp_path / "a.html", **QUICK)
    text = written.path.read_text()
    assert "2 of 6 slides are shown: the most doubtful" in section(text, "quality")
    assert "1 of 2 slides are shown" in section(text, "maps")
    assert written.num_bytes == len(text.encode())
    smaller = report(made / "out", to=tmp_path / "b.html", max_pictures=6, max_megabytes=0.16)
    assert smaller.num_bytes < 160_000
    assert "larger than --max-megabytes" in section(smaller.path.read_text(), "quality")
    with pytest.raises(ConfigError, match=r"max-megabytes is 0\.01; expected at least"):
        report(made / "out", to=tmp_path / "b.html", max_megabytes=0.01)


def test_half_finished_folders_say_what_is_missing(copied):
    out, run = copied / "out", copied / "run"
    for path in (out / "run.json", run / "model.slidenet", run / "results.md"):
        path.unlink()
    for path in (run / "learning_curve.png", run / "predictions_test.csv"):
        path.unlink()
    (out / "tile_features" / "generated" / "a.h5").unlink()
    (out / "overlays" / "d.jpg").write_bytes(b"no picture")
    compare = out / "explanations" / "compare"
    compare.mkdir()
    for folder in ("h5", "figures"):
        (out / "explanations" / folder).rename(compare / folder)
    (out / "feature_maps").mkdir()
    shutil.copy(compare / "figures" / "a.png", out / "feature_maps" / "clusters.png")
    written = report(out, run, num_bootstrap=5)
    text = written.path.read_text()
    assert written.exit_code == 0
    assert written.path == out / "report.html"
    assert set(written.lacks) == {
        "Cohort", "Failures", "Training", "Performance", "Model card", "Provenance",
        "Quality of the tissue",
    }  # fmt: skip
    assert "without features of generated: a" in section(text, "cohort")
    assert "Methods side by side" in section(text, "maps")
    assert "What features look like" in section(text, "maps")
    assert "results.md: the run has not ended yet" in section(text, "training")
    assert "not in it: Model card (no model)" in written.table()


def test_damaged_files_are_told_and_the_rest_goes_on(copied):
    out, run = copied / "out", copied / "run"
    (out / "tiles" / "a.h5").write_bytes((out / "tiles" / "a.h5").read_bytes()[:900])
    (out / "tissue" / "e.json").write_text('{"format": "slidenet.tissue", "notes": [')
    features = out / "tile_features" / "generated" / "d.h5"
    features.write_bytes(features.read_bytes()[: features.stat().st_size // 2])
    (out / "explanations" / "h5" / "a.h5").write_bytes(b"no file of h5")
    (run / "model.slidenet").write_bytes(b"no model")
    (run / "predictions_test.json").write_text('{"format": "slidenet predictions", "version": 9}')
    found = json.loads((out / "run.json").read_text())
    found["stages"]["preprocess"]["slides"] += [
        3,
        {"slide_id": 5, "status": ["x"], "seconds": 10**400},
    ]
    found["stages"]["other"] = [1]
    (out / "run.json").write_text(json.dumps(found))
    text = report(out, run, num_bootstrap=5).path.read_text()
    failures = section(text, "failures")
    assert "5 files could not be read" in failures
    assert "a.h5" in failures
    assert "model.slidenet" in failures
    assert "Some maps could not be read" in section(text, "maps")
    assert "is of version 9" in section(text, "performance")


@pytest.mark.slow
def test_bags_a_model_was_trained_on_are_told(bench, made, tmp_path):
    """Predictions of `slidenet predict`: of which slides is only known beside the model."""
    model = load_bundle(made / "run" / "model.slidenet")
    seen = {"slides": _digests(["a", "b"]), "patients": []}
    rng = np.random.default_rng(0)
    for name, digests in (("known", model.digests), ("unknown", ("0" * 16,))):
        folder = tmp_path / name
        folder.mkdir()
        predictions = bench._predictions(model.task, ["a", "b", "c", "d"], rng)
        origin = Origin("predict", models=digests)
        write_predictions(folder / "predictions.csv", predictions, origin=origin)
        save_bundle(
            folder / "model.slidenet",
            model.module,
            features_identity=model.features_identity,
            training={"seen": seen},
        )
    shown = [
        section(report(tmp_path / name, num_bootstrap=5).path.read_text(), "performance")
        for name in ("known", "unknown")
    ]
    assert "trained on 2 of these 4 slides" in shown[0]
    assert "lies in none of the folders" in shown[1]


def test_folders_of_nobody_are_refused(tmp_path, made):
    with pytest.raises(ConfigError, match="does not exist"):
        report(tmp_path / "gone")
    with pytest.raises(ConfigError, match="holds nothing that slidenet wrote"):
        report(tmp_path)
    with pytest.raises(ConfigError, match=r"--to is .*report.pdf"):
        report(made / "out", to=tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["binary", "multiclass", "cox"])
@pytest.mark.slow
def test_every_kind_of_task_has_its_charts(bench, made, tmp_path, kind):
    ids = [f"slide_{i}" for i in range(40)]
    bench.write_run(tmp_path / "run", ids, kind)
    text = report(tmp_path / "run", num_bootstrap=10).path.read_text()
    shown = section(text, "performance")
    charts = {"binary": "How often predictions", "multiclass": "True against predicted class",
              "cox": "Kaplan-Meier curves"}  # fmt: skip
    assert charts[kind] in shown
    assert "Cohort: no slides" in " ".join(section(text, "overview").split()).replace(" :", ":")
