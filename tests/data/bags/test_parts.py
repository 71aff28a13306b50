"""Regions and single tiles as bags: which tiles, whose label, whose patient, never parted."""

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, LabelError, StoreError
from slidenet.core.records import TileRegions
from slidenet.data import write_splits
from slidenet.data.datamodule import read_bags
from slidenet.data.splits.record import Split
from slidenet.stores import open_features

NAMES = ("Stroma", "Tumor", "Vessel")


def regions_of(num_tiles, by="class"):
    """Tiles lie in Tumor and Stroma in turn, with shares from 0.1 to 1; none lies in Vessel."""
    index = ((np.arange(num_tiles) + 1) % 2).astype(np.uint16)
    return TileRegions(NAMES, index, np.linspace(0.1, 1, num_tiles, dtype=np.float32), by)


@pytest.fixture
def write(cohort_kit, tmp_path):
    def make(table, num_slides=12, num_tiles=10, regions=True, by="class", **slide):
        for i in range(num_slides):
            cohort_kit.write_slide(
                tmp_path / "features",
                f"s{i:02d}",
                num_tiles,
                regions=regions_of(num_tiles, by) if regions else None,
                **slide,
            )
        labels = tmp_path / "labels.csv"
        labels.write_text("\n".join(table) + "\n")
        return {"labels": labels, "features": tmp_path / "features"}

    return make


def by_slide(num_slides=12, patients=True):
    rows = [f"s{i:02d},p{i // 2:02d},{'ab'[i // 2 % 2]}" for i in range(num_slides)]
    if not patients:
        rows = [",".join(row.split(",")[::2]) for row in rows]
    return ["slide_id,patient_id,label" if patients else "slide_id,label", *rows]


def features_of_bag(data, bag_id, split=None):
    dataset = data.dataset(split)
    names = [bag.bag_id for bag in data.bags(split)]
    return dataset[names.index(bag_id)]


def test_a_region_is_a_bag_of_its_tiles(write, cohort_kit):
    data = read_bags(**write(by_slide()), bag="region")
    assert len(data.bags()) == 24  # nothing lies in Vessel
    bag = features_of_bag(data, "s03:Tumor")
    np.testing.assert_array_equal(bag.features, cohort_kit.features_of("s03", 10)[::2])
    np.testing.assert_array_equal(bag.coords, cohort_kit.coords_of(10)[::2])
    other = features_of_bag(data, "s03:Stroma")
    np.testing.assert_array_equal(other.features, cohort_kit.features_of("s03", 10)[1::2])
    assert bag.target == other.target == 1


def test_a_region_of_which_nothing_can_be_read_is_no_bag(write):
    data = read_bags(**write(by_slide(), unreadable=(1, 3, 5, 7, 9)), bag="region")
    assert {bag.bag_id for bag in data.bags()} == {f"s{i:02d}:Tumor" for i in range(12)}


def test_bags_of_cores_are_those_of_regions_told_apart_as_cores(write, tmp_path):
    files = write(by_slide(), by="core")
    cores, regions = (read_bags(**files, bag=bag) for bag in ("core", "region"))
    assert [b.bag_id for b in cores.bags()] == [b.bag_id for b in regions.bags()]
    assert cores.identity()["bag"] == "core"
    with pytest.raises(StoreError, match=r"told apart by class, not by core.*--data.bag region"):
        read_bags(**write(by_slide(), by="class"), bag="core")


@pytest.mark.parametrize("patients", [True, False])
@pytest.mark.parametrize("bag", ["region", "tile"])
def test_no_split_parts_a_slide_or_patient(write, bag, patients):
    data = read_bags(**write(by_slide(patients=patients)), bag=bag, label_columns=["region"])
    sides = {}
    for name in ("train", "val", "test"):
        for row in data.split.slides(name):
            slide = row.partition(":")[0]
            sides.setdefault(f"p{int(slide[1:]) // 2}" if patients else slide, set()).add(name)
    assert len(sides) == (6 if patients else 12)
    assert all(len(side) == 1 for side in sides.values())


def test_a_region_can_be_the_label_of_tiles(write, cohort_kit):
    files = write(by_slide(), unreadable=(9,))
    data = read_bags(**files, bag="tile", label_columns=["region"])
    assert data.task_record.class_names == ("Stroma", "Tumor")
    # Shares are 0.1, 0.2, ..., and half a tile is asked for; the last one cannot be read.
    bags = [bag.bag_id for bag in data.bags() if bag.bag_id.startswith("s05:")]
    assert bags == [f"s05:{x}_{y}" for x, y in cohort_kit.coords_of(10)[[4, 5, 6, 7, 8]]]
    bag = features_of_bag(data, bags[1])
    np.testing.assert_array_equal(bag.features, cohort_kit.features_of("s05", 10)[[5]])
    assert bag.target == 0  # Stroma
    few = read_bags(**files, bag="tile", label_columns=["region"], tiles_per_slide=2)
    again = read_bags(**files, bag="tile", label_columns=["region"], tiles_per_slide=2)
    assert len(few.bags()) == 24
    assert few.label_table.slide_ids == again.label_table.slide_ids
    assert few.identity() != data.identity()


def test_rows_of_regions_have_their_own_labels(write):
    table = ["slide_id,patient_id,region,label"]
    for i in range(12):
        table += [f"s{i:02d},p{i:02d},Tumor,{'ab'[i % 2]}", f"s{i:02d},p{i:02d},Stroma,b"]
    table.pop()  # the Stroma of the last slide has no row, so it is no bag
    data = read_bags(**write(table), bag="region")
    assert len(data.bags()) == 23
    labels = dict(zip(data.label_table.slide_ids, data.targets().tolist(), strict=True))
    assert labels["s02:Tumor"] == 0
    assert labels["s02:Stroma"] == labels["s03:Tumor"] == 1


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            "s00,p00,Tumour,a",
            r"name a region without readable tiles: s00:Tumour; expected.*Stroma, Tumor",
        ),
        ("s00,p00,,a", r"column 'region' is ''; expected one row per region"),
        ("s01,p01,Tumor,a", r"column 'region' is 'Tumor', as in row \d+ of the same slide"),
        ("s01,p09,Stroma,a", r"of patient 'p09' here and of 'p01' in row 3"),
        ("S01,p01,Tumor,a", r"slide_id 'S01' is already taken by 's01'"),
    ],
)
def test_faulty_rows_of_regions_are_named(write, cells, message):
    rows = [f"s{i:02d},p{i:02d},Tumor,{'ab'[i % 2]}" for i in range(12)]
    with pytest.raises(LabelError, match=message):
        read_bags(**write(["slide_id,patient_id,region,label", *rows, cells]), bag="region")


def test_splits_may_name_slides_or_their_parts(write, tmp_path):
    files = write(by_slide())
    path = tmp_path / "splits.csv"
    slides = [f"s{i:02d}" for i in range(12)]
    write_splits(path, [Split(tuple(slides[:8]), (), tuple(slides[8:]))])
    data = read_bags(**files, bag="region", splits=path)
    assert set(data.split.test) == {f"{s}:{r}" for s in slides[8:] for r in NAMES[:2]}
    write_splits(path, [data.split])
    assert read_bags(**files, bag="region", splits=path).split == data.split


def test_files_without_regions_and_settings_of_others_are_refused(write):
    files = write(by_slide(), regions=False)
    with pytest.raises(StoreError, match=r"does not say in which region its tiles lie.*--regions"):
        read_bags(**files, bag="region")
    assert len(read_bags(**files, bag="tile").bags()) == 120  # by the label of their slide
    for wrong in ({"min_region_share": 0.5}, {"bag": "region", "tiles_per_slide": 3}):
        with pytest.raises(ConfigError, match=r"expected --data.bag"):
            read_bags(**files, **wrong)


def test_parts_read_alike_with_and_without_memory(write):
    files = write(by_slide())
    data = read_bags(**files, bag="tile", label_columns=["region"], min_region_share=0)
    dataset = data.dataset()
    for index in (0, 7, 55):
        kept = dataset.memory.read(data.bags()[index].files[0])
        read = data.bags()[index].files[0].read()
        for one, other in zip(kept, read, strict=True):
            np.testing.assert_array_equal(one, other)
    whole = open_features(files["features"] / "s00.h5")
    assert len(whole.regions.index) == 10
