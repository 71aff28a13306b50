"""Slides to slide embeddings on generated slides: what is made, skipped and refused."""

import json
import math
import pickle
import shutil
from dataclasses import dataclass, field, replace

import h5py
import numpy as np
import pytest

from slidenet.core.errors import ConfigError, MissingWeightsError, OutputError, UnknownNameError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.runner import LocalRunner, Runner
from slidenet.pipelines.embed_slides import check_recipe, embed_slides
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.inspection.info import info
from slidenet.pipelines.inspection.validate import validate
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.run import run
from slidenet.pipelines.settings import (
    EmbedSlidesSettings,
    EmbedTilesSettings,
    PreprocessSettings,
    RunSettings,
)
from slidenet.slides import open_slide, read_tile
from slidenet.stores import (
    read_features,
    read_slide_embedding,
    read_slide_embeddings,
    read_tile_set,
    validate_file,
)
from slidenet.testing import corrupt_tile, truncate_file, write_pyramid, write_synthetic_slide
from slidenet.tissue import find_tissue, tissue_polygons, write_geojson

SETTINGS = EmbedTilesSettings(batch_size=16, feature_dtype="float32")


@pytest.fixture
def embedded(row, layout, small_tiles, colour_encoder):
    """One slide taken through all three steps."""
    preprocess([row], layout.root, small_tiles)
    embed_tiles([row], layout.root, SETTINGS, tile_encoder=colour_encoder)
    return embed_slides(
        [row], layout.root, EmbedSlidesSettings(recipe="mean_std"), encoder="colour"
    )


def statuses(report):
    return [outcome.status for outcome in report.outcomes]


def test_every_stage_leaves_a_sound_file(embedded, layout):
    assert statuses(embedded) == ["done"]
    files = [
        layout.tiles("healthy"),
        layout.features("healthy", "colour"),
        layout.slide_embedding("healthy", "colour", "mean_std"),
    ]
    assert [validate_file(file) for file in files] == [[], [], []]
    assert layout.overlay("healthy").stat().st_size > 1000
    polygons = json.loads(layout.tissue("healthy").read_text())
    assert polygons["type"] == "FeatureCollection"


def test_features_are_those_of_the_tiles(embedded, layout, row):
    tile_set = read_tile_set(layout.tiles("healthy"))
    with (
        read_features(layout.features("healthy", "colour")) as file,
        open_slide(row.slide_path) as slide,
    ):
        for index in (0, tile_set.num_tiles // 2, tile_set.num_tiles - 1):
            tile = read_tile(slide, tile_set.geometry, tile_set.coords[index]) / 255
            np.testing.assert_allclose(file.features[index, :3], tile.mean(axis=(0, 1)), atol=2e-3)
        embedding = read_slide_embedding(layout.slide_embedding("healthy", "colour", "mean_std"))
        features = file.features[:].astype(np.float64)
    expected = np.concatenate([features.mean(axis=0), features.std(axis=0)])
    np.testing.assert_allclose(embedding.slide_embedding, expected, rtol=1e-5)


def test_a_second_run_does_nothing(embedded, row, layout, small_tiles, colour_encoder):
    before = {p: p.stat().st_mtime_ns for p in layout.root.rglob("*.h5")}
    reports = [
        preprocess([row], layout.root, small_tiles),
        embed_tiles([row], layout.root, SETTINGS, tile_encoder=colour_encoder),
        embed_slides([row], layout.root, EmbedSlidesSettings(recipe="mean_std"), encoder="colour"),
    ]
    assert [statuses(r) for r in reports] == [["already done"]] * 3
    assert {p: p.stat().st_mtime_ns for p in layout.root.rglob("*.h5")} == before


def test_another_recipe_is_refused_and_overwrite_replaces(embedded, row, layout):
    other = PreprocessSettings(tile_size_px=256)
    report = preprocess([row], layout.root, other)
    assert statuses(report) == ["failed"]
    assert "128 -> 256" in report.outcomes[0].detail
    assert "--overwrite" in report.outcomes[0].detail
    assert statuses(preprocess([row], layout.root, other, overwrite=True)) == ["done"]
    # The features now belong to tiles that are gone.
    report = embed_slides([row], layout.root, EmbedSlidesSettings(recipe="mean"), encoder="colour")
    assert statuses(report) == ["failed"]
    assert "was made from other tiles" in report.outcomes[0].detail
    assert "slidenet embed-tiles" in report.outcomes[0].detail


def test_a_changed_mpp_is_another_input(embedded, row, layout, small_tiles, colour_encoder):
    changed = SlideRow(slide_id=row.slide_id, slide_path=row.slide_path, mpp=0.4)
    report = preprocess([changed], layout.root, small_tiles)
    assert statuses(report) == ["failed"]
    assert "0.5 -> 0.4" in report.outcomes[0].detail
    report = embed_tiles(
        [changed], layout.root, SETTINGS, tile_encoder=colour_encoder, overwrite=True
    )
    assert "0.4 mpp" in report.outcomes[0].detail


def test_bad_slides_fail_one_by_one_with_a_remedy(tmp_path, slide_path, layout, small_tiles):
    def broken(name, action):
        path = tmp_path / name
        action(path)
        return SlideRow(slide_id=path.stem, slide_path=str(path))

    def truncated(path):
        shutil.copy(slide_path, path)
        truncate_file(path)

    rows = [
        broken("not_a_slide.svs", lambda p: p.write_text("hello")),
        broken("truncated.tiff", truncated),
        broken("empty.tiff", lambda p: write_synthetic_slide(p, 1024, 1024, 0.5, num_blobs=0)),
        broken("small.tiff", lambda p: write_synthetic_slide(p, 100, 100, 0.5)),
        broken("no_mpp.tiff", lambda p: write_synthetic_slide(p, 512, 512, None)),
        SlideRow(slide_id="nonsense", slide_path=str(slide_path), mpp=0.0),
        SlideRow(slide_id="missing", slide_path=str(tmp_path / "gone.svs")),
        SlideRow(slide_id="healthy", slide_path=str(slide_path)),
    ]
    report = preprocess(rows, layout.root, small_tiles)
    assert statuses(report) == ["failed"] * 7 + ["done"]
    for outcome in report.outcomes[:7]:
        assert f"slide {outcome.slide_id!r}" in outcome.detail
        assert "To fix:" in outcome.detail
        assert outcome.traceback is None
    assert "column" in report.outcomes[4].detail
    files = [p for p in layout.root.rglob("*") if p.is_file()]
    leftovers = [p.name for p in files if p.parent != layout.runs]
    shown = [f"{name}.{kind}" for name in ("empty", "healthy", "small") for kind in ("jpg", "json")]
    others = ["healthy.geojson", "healthy.h5", "index.html", "run.json", "tissue.csv"]
    assert sorted(leftovers) == sorted([*shown, *others]), "those without tissue are shown, too"


def test_unreadable_tiles_in_the_middle_are_recorded(tmp_path, layout, colour_encoder, monkeypatch):
    # As on large slides: the overview is of a coarser level, which is whole.
    monkeypatch.setattr("slidenet.tissue.tissue.OVERVIEW_PX", 256)
    path = tmp_path / "corrupt.tiff"
    write_synthetic_slide(path, 1024, 1024, 0.5, seed=1)
    rows = [SlideRow(slide_id="corrupt", slide_path=str(path))]
    whole = PreprocessSettings(tile_size_px=128, segmenter="all", drop_blank=False)
    preprocess(rows, layout.root, whole)
    # Break it afterwards, keeping the fingerprint honest, by preprocessing the broken file anew.
    corrupt_tile(path, (300, 300))
    report = embed_tiles(rows, layout.root, SETTINGS, tile_encoder=colour_encoder)
    assert "not the file its tiles were made from" in report.outcomes[0].detail
    preprocess(rows, layout.root, whole, overwrite=True)
    report = embed_tiles(rows, layout.root, SETTINGS, tile_encoder=colour_encoder)
    assert statuses(report) == ["failed"], "a sixteenth of its tiles is more than may be lost"
    settings = replace(SETTINGS, max_unreadable=0.25)
    report = embed_tiles(rows, layout.root, settings, tile_encoder=colour_encoder)
    assert statuses(report) == ["done"], report.table()
    with read_features(layout.features("corrupt", "colour")) as file:
        bad = ~file.mask
        assert 0 < bad.sum() < len(bad) / 4
        assert not file.features[:][bad].any()
    assert f"{bad.sum()} tiles unreadable" in report.outcomes[0].detail


@pytest.mark.slow
def test_run_takes_a_slide_out_after_it_failed(tmp_path, slide_path):
    slides = tmp_path / "slides"
    slides.mkdir()
    shutil.copy(slide_path, slides / "healthy.tiff")
    (slides / "broken.svs").write_text("no")
    report = run(
        slides,
        tmp_path / "out",
        RunSettings(tile_size_px=512),
        batch_size=4,
    )
    assert report.exit_code == 1
    assert [len(stage.outcomes) for stage in report.stages] == [2, 1, 1]
    assert statuses(report.stages[2]) == ["done"]
    stages = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]
    assert set(stages) == {"preprocess", "embed-tiles", "embed-slides"}
    assert stages["preprocess"]["num_failed"] == 1
    assert "Failed (1): broken." in report.table().splitlines()[-1]


def test_a_misspelt_recipe_is_refused_before_any_work(tmp_path, slide_path):
    with pytest.raises(UnknownNameError, match="did you mean"):
        run(slide_path.parent, tmp_path / "out", recipe="gigapat")
    assert not (tmp_path / "out").exists()


def test_missing_weights_are_refused_before_any_work(tmp_path, slide_path):
    gone = tmp_path / "gone.pth"
    for settings in ({"recipe": "gigapath", "slide_weights": gone}, {"weights": str(gone)}):
        with pytest.raises(MissingWeightsError, match=r"gone\.pth"):
            run(slide_path.parent, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_mpp": -1.0}, "target_mpp is -1.0; expected a finite number above 0"),
        ({"target_mpp": math.nan}, "target_mpp is nan"),
        ({"tile_size_px": 0}, "tile_size_px is 0; expected a whole number of at least 1"),
        ({"stride_px": 0}, "stride_px is 0; expected a whole number of at least 1"),
        ({"min_tissue_fraction": 2.0}, "min_tissue_fraction is 2.0; expected a share"),
        ({"tissue_class": "tumour"}, "without --tissue-geojson"),
        ({"exclude_classes": ["fat"]}, "without --tissue-geojson"),
        ({"exclude_classes": "fat"}, "exclude_classes is the text 'fat'; expected a list"),
    ],
)
def test_a_wrong_setting_is_refused_once_not_slide_by_slide(row, layout, settings, message):
    with pytest.raises(ConfigError, match=message):
        preprocess([row], layout.root, PreprocessSettings(**settings))
    assert not layout.root.exists()


def test_a_broken_tile_set_fails_its_slide_alone(row, layout, small_tiles, colour_encoder):
    broken = SlideRow(slide_id="broken", slide_path=row.slide_path)
    preprocess([broken, row], layout.root, small_tiles)
    layout.tiles("broken").write_text("junk")
    report = embed_tiles([broken, row], layout.root, SETTINGS, tile_encoder=colour_encoder)
    assert statuses(report) == ["failed", "done"]
    assert "slide 'broken'" in report.outcomes[0].detail
    problems = validate([layout.tiles("broken")]).checks[0]
    assert problems.found.count(str(layout.tiles("broken"))) == 0
    assert (problems.found + problems.remedy).count("make it again") == 1


def test_recipes_without_weights_are_among_the_nearest_names():
    with pytest.raises(UnknownNameError, match="did you mean mean_std"):
        check_recipe(EmbedSlidesSettings(recipe="mean-std"))


def test_a_file_in_place_of_the_output_folder(tmp_path, row, small_tiles):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="To fix"):
        preprocess([row], tmp_path / "out", small_tiles)


def test_files_read_by_clam_and_trident_conventions(embedded, layout):
    with h5py.File(layout.features("healthy", "colour")) as file:
        features, coords = file["features"][:], file["coords"][:]
        attributes = dict(file["coords"].attrs)
    assert features.dtype == np.float32
    assert features.shape == (len(coords), 6)
    assert coords.dtype == np.int64
    assert attributes["patch_size"] == 128
    assert attributes["patch_size_level0"] == 128
    assert attributes["level0_width"] == 2048
    assert attributes["target_magnification"] == 20


def test_hand_drawn_tissue_replaces_the_segmenter(tmp_path, row, layout, slide_path):
    folder = tmp_path / "drawn"
    folder.mkdir()
    square = [[0, 0], [1024, 0], [1024, 1024], [0, 1024], [0, 0]]
    (folder / "healthy.geojson").write_text(
        json.dumps({"type": "Polygon", "coordinates": [square]})
    )
    settings = PreprocessSettings(tile_size_px=256, tissue_geojson=folder, drop_blank=False)
    preprocess([row], layout.root, settings)
    assert read_tile_set(layout.tiles("healthy")).num_tiles == 16
    assert statuses(preprocess([row], layout.root, settings)) == ["already done"]
    square[2] = [1024, 512]  # edited by hand: another input, so not the same tiles
    (folder / "healthy.geojson").write_text(
        json.dumps({"type": "Polygon", "coordinates": [square]})
    )
    assert statuses(preprocess([row], layout.root, settings)) == ["failed"]


def test_slides_of_different_mpp_make_one_cohort(tmp_path, layout, colour_encoder):
    rows = []
    for name, mpp in (("fine", 0.25), ("coarse", 0.5)):
        path = tmp_path / f"{name}.tiff"
        write_synthetic_slide(path, 1024, 1024, mpp)
        rows.append(SlideRow(slide_id=name, slide_path=str(path)))
    preprocess(rows, layout.root, PreprocessSettings(tile_size_px=64, segmenter="all"))
    embed_tiles(rows, layout.root, SETTINGS, tile_encoder=colour_encoder)
    embed_slides(rows, layout.root, EmbedSlidesSettings(), encoder="colour")
    folder = layout.slide_embedding("fine", "colour", "mean").parent
    slide_ids, matrix = read_slide_embeddings(folder)
    assert slide_ids == ["coarse", "fine"]
    assert matrix.shape == (2, 6)


def test_sparse_areas_are_background_not_black(tmp_path, layout):
    path = tmp_path / "sparse.tiff"

    def paint(x, y, width, height):
        if x < 512:
            return None  # the scanner stored nothing here
        return np.full((height, width, 3), (180, 90, 160), np.uint8)

    write_pyramid(path, 1024, 1024, 0.5, paint)
    with open_slide(path) as slide:
        assert (slide.read_region((0, 0), 0, (256, 256)) == 255).all()


def test_info_estimates_with_the_tissue_drawn_by_hand(tmp_path, row, slide_path):
    with open_slide(slide_path) as slide:
        whole = find_tissue(slide, "all")
    write_geojson(tmp_path / f"{slide_path.stem}.geojson", tissue_polygons(whole))
    drawn = dict(info(slide_path, PreprocessSettings(tissue_geojson=tmp_path)).rows)
    assert drawn["tissue"].startswith("100.0%")
    assert drawn["tissue"].endswith("(drawn by hand)")
    assert dict(info(slide_path).rows)["tissue"].endswith("(optical_density)")


def test_settings_are_a_dataclass_or_keywords_or_both(row, layout):
    settings = PreprocessSettings(tile_size_px=128)
    reports = [
        preprocess([row], layout.root, tile_size_px=128),
        preprocess([row], layout.root, settings),
        preprocess([row], str(layout.root), PreprocessSettings(drop_blank=False), tile_size_px=128),
    ]
    assert [statuses(r) for r in reports] == [["done"], ["already done"], ["already done"]]
    assert {r.settings["tile_size_px"] for r in reports} == {128}
    with pytest.raises(UnknownNameError, match=r"'tile_size'.* did you mean tile_size_px"):
        preprocess([row], layout.root, tile_size=128)
    with pytest.raises(ConfigError, match="EmbedTilesSettings; expected a PreprocessSettings"):
        preprocess([row], layout.root, SETTINGS)


@dataclass
class Pickled(Runner):
    """Runs every work after a journey through bytes, as one sent elsewhere."""

    works: list = field(default_factory=list)

    def run(self, work, rows, progress):
        self.works.append(type(work).__name__)
        yield from LocalRunner().run(pickle.loads(pickle.dumps(work)), rows, progress)


def test_every_work_can_be_sent_to_another_process(row, layout, small_tiles, colour_encoder):
    runner = Pickled()
    preprocess([row], layout.root, small_tiles, runner=runner)
    embed_tiles([row], layout.root, SETTINGS, tile_encoder=colour_encoder, runner=runner)
    report = embed_slides([row], layout.root, encoder="colour", runner=runner)
    assert statuses(report) == ["done"], report.table()
    assert runner.works == ["PreprocessWork", "EmbedTilesWork", "EmbedSlidesWork"]
