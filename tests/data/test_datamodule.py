"""The data module: loaders of exact contents, and every fault of a cohort named before training."""

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from slidenet.core.errors import (
    ConfigError,
    IdentityMismatchError,
    LabelError,
    SplitError,
    StoreError,
)
from slidenet.data import Split, write_splits
from slidenet.data.datamodule import read_bags
from slidenet.data.settings import DataSettings

IDS = [f"s{i:02d}" for i in range(24)]


@pytest.fixture(scope="module")
def cohort(cohort_kit, tmp_path_factory):
    columns = {
        "label": ["ab"[(i // 2) % 2] for i in range(24)],
        "grade": [str((i // 2) % 3) for i in range(24)],
        "kras": ["1" if i // 2 % 2 else "0" for i in range(24)],
        "braf": ["" if i < 2 else str((i // 4) % 2) for i in range(24)],
        "age": [str(40 + i // 2) for i in range(24)],
        "months": [str(1 + i // 2) for i in range(24)],
        "died": [str(int(i // 2 % 3 > 0)) for i in range(24)],
    }
    folder = tmp_path_factory.mktemp("cohort")
    return cohort_kit.write_cohort(folder, num_slides=24, slides_per_patient=2, columns=columns)


def drawn(loader):
    return [bag_id for batch in loader for bag_id in batch.bag_ids]


def test_the_parts_hold_every_slide_once_and_no_patient_twice(cohort):
    data = read_bags(**cohort, batch_size=4)
    assert data.task_record.class_names == ("a", "b")
    assert data.feature_dim == 6
    assert data.cohort.features_identity["encoder"] == "toy"
    parts = [drawn(data.train_dataloader()), drawn(data.val_dataloader())]
    parts.append(drawn(data.test_dataloader()))
    assert sorted(slide_id for part in parts for slide_id in part) == IDS
    patients = [{data.label_table.patient_of(s) for s in part} for part in parts]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 12
    assert drawn(data.predict_dataloader()) == IDS
    assert (data.cohort.left_out, data.cohort.unused) == ((), ())


def test_a_batch_is_the_files_and_the_labels(cohort, cohort_kit):
    data = read_bags(**cohort, batch_size=3)
    batch = next(iter(data.predict_dataloader()))
    assert batch.bag_ids == ("s00", "s01", "s02")
    assert batch.target.tolist() == [0, 0, 1]
    assert batch.mask.sum(1).tolist() == [5, 6, 7]
    np.testing.assert_array_equal(batch.features[1, :6], cohort_kit.features_of("s01", 6))
    np.testing.assert_array_equal(batch.grid_xy[2, :7], cohort_kit.coords_of(7, 1))


def test_bags_of_patients_hold_their_slides_side_by_side(cohort):
    data = read_bags(**cohort, bag="patient")
    batches = list(data.predict_dataloader())
    assert [b.bag_ids for b in batches] == [(f"p{i:02d}",) for i in range(12)]
    assert batches[0].slide_ids == (("s00", "s01"),)
    assert batches[0].mask.shape == (1, 11)
    assert batches[0].grid_xy[0, 5].tolist() == [12, 0]
    assert torch.cat([b.target for b in batches]).tolist() == [0, 1] * 6


@pytest.mark.parametrize(
    ("task", "columns", "shape", "dtype"),
    [
        ("multiclass", ["grade"], (24,), torch.int64),
        ("ordinal", ["grade"], (24,), torch.int64),
        ("multilabel", ["kras", "braf"], (24, 2), torch.float32),
        ("regression", ["age"], (24,), torch.float32),
        ("cox", ["months", "died"], (24, 2), torch.float32),
        ("discrete_time", ["months", "died"], (24, 2), torch.float32),
    ],
)
def test_every_kind_of_task_has_its_targets(cohort, task, columns, shape, dtype):
    data = read_bags(**cohort, task=task, label_columns=columns, batch_size=24)
    target = next(iter(data.predict_dataloader())).target
    assert (tuple(target.shape), target.dtype) == (shape, dtype)


def test_training_alone_is_shuffled_and_thinned(cohort):
    data = read_bags(**cohort, max_tiles=4, token_budget=12)
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append([(b.bag_ids, b.coords) for b in loader])
        assert all(b.mask.shape[1] == 4 and len(b) <= 3 for b in loader)
    assert [ids for ids, _ in epochs[0]] != [ids for ids, _ in epochs[1]]
    assert sorted(i for ids, _ in epochs[0] for i in ids) == sorted(data.split.train)
    assert max(b.mask.shape[1] for b in data.test_dataloader()) > 4
    assert drawn(data.val_dataloader()) == sorted(data.split.val)


def test_the_same_seed_gives_the_same_everything(cohort):
    first, again = (read_bags(**cohort, seed=5, max_tiles=3) for _ in range(2))
    assert first.split == again.split
    for a, b in zip(first.train_dataloader(), again.train_dataloader(), strict=True):
        assert a.bag_ids == b.bag_ids
        np.testing.assert_array_equal(a.features, b.features)
    assert read_bags(**cohort, seed=6).split != first.split


SPLIT = Split(train=tuple(IDS[:14]), val=tuple(IDS[14:18]), test=tuple(IDS[18:]))


def test_class_weights_and_balanced_sampling(cohort):
    train = tuple(IDS[i] for i in range(24) if i // 2 in (0, 1, 2, 4, 6))  # a, b, a, a, a
    data = read_bags(**cohort, class_weights="balanced", sampling="balanced").with_split(
        Split(train=train)
    )
    np.testing.assert_allclose(data.class_weights_tensor, [10 / (2 * 8), 10 / (2 * 2)])
    assert data.class_weights_tensor.dtype == torch.float32
    targets = torch.cat([batch.target for batch in data.train_dataloader()])
    assert targets.bincount().tolist() == [5, 5]
    assert read_bags(**cohort).class_weights_tensor is None
    labels = read_bags(
        **cohort, task="multilabel", label_columns=["kras", "braf"], class_weights="balanced"
    ).with_split(SPLIT)
    np.testing.assert_allclose(labels.class_weights_tensor, [8 / 6, 6 / 6])


def test_with_split_keeps_files_and_cache(cohort, tmp_path):
    data = read_bags(**cohort, cache=True)
    other = data.with_split(SPLIT)
    assert other.split == SPLIT != data.split
    assert drawn(other.test_dataloader()) == list(SPLIT.test)
    assert sorted(drawn(other.train_dataloader())) == list(SPLIT.train)
    assert other.bag_files is data.bag_files
    assert other.cohort is data.cohort
    assert set(data.cohort.memory._kept) == {
        data.bag_files[s].path for s in SPLIT.train + SPLIT.test
    }


def test_time_edges_come_from_the_training_part(cohort):
    settings = {"task": "discrete_time", "label_columns": ["months", "died"], "num_time_bins": 2}
    data = read_bags(**cohort, **settings).with_split(SPLIT)
    times = [2, 2, 3, 3, 5, 5, 6, 6]  # of the events among patients 0 to 6
    assert data.task_record.time_edges == tuple(np.quantile(times, [0.5, 1]))
    given = read_bags(**cohort, **settings, time_edges=[4, 9]).with_split(SPLIT)
    assert given.task_record.time_edges == (4.0, 9.0)


def test_split_files_are_used(cohort, tmp_path):
    swapped = Split(train=SPLIT.test, val=SPLIT.val, test=SPLIT.train)
    path = write_splits(tmp_path / "splits.csv", [SPLIT, swapped])
    data = read_bags(**cohort, splits=path, fold=1)
    assert data.split == swapped
    with pytest.raises(SplitError, match=r"fold 2 of .*splits.csv, which holds 2"):
        read_bags(**cohort, splits=path, fold=2)


def test_parts_that_do_not_exist_have_no_loader(cohort):
    data = read_bags(**cohort).with_split(Split(train=tuple(IDS)))
    assert data.val_dataloader() == []
    assert data.test_dataloader() == []
    assert len(data.train_dataloader()) == 24


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_class_is_refused(cohort, split):
    data = read_bags(**cohort)
    only_a = tuple(s for i, s in enumerate(IDS) if i // 2 % 2 == 0 and i >= 16)
    rest = tuple(s for s in IDS if s not in only_a)
    parts = {"train": rest[:6], "val": rest[6:10], "test": rest[10:14]} | {split: only_a}
    with pytest.raises(
        SplitError, match=rf"the {split} split of 4 bags has no bag of class 'b' \(lab"
    ):
        data.with_split(Split(**parts))


def test_a_part_without_an_event_is_refused(cohort):
    data = read_bags(**cohort, task="cox", label_columns=["months", "died"])
    split = Split(train=tuple(IDS[2:]), val=tuple(IDS[:2]))
    with pytest.raises(SplitError, match=r"val split of 2 bags has no event \(died 1\)"):
        data.with_split(split)


def test_a_test_split_is_what_it_is(cohort):
    data = read_bags(**cohort, task="cox", label_columns=["months", "died"])
    split = Split(train=tuple(IDS[2:]), test=tuple(IDS[:2]))
    assert data.with_split(split).targets("test")[:, 1].tolist() == [0, 0]


def test_splits_that_leak_or_name_unknown_slides(cohort):
    data = read_bags(**cohort)
    with pytest.raises(SplitError, match=r"patient 'p00' in train and test"):
        data.with_split(Split(train=tuple(IDS[:1] + IDS[2:20]), test=tuple(IDS[1:2] + IDS[20:])))
    with pytest.raises(SplitError, match=r"slide 'nobody'"):
        data.with_split(Split(train=(*IDS, "nobody")))


@pytest.fixture
def small(cohort_kit, tmp_path):
    """A cohort of a test's own, to spoil."""
    kit, where = cohort_kit, tmp_path

    def make(**settings):
        cohort = kit.write_cohort(where, num_slides=12, **settings)
        return cohort | {"val_fraction": 0.25, "test_fraction": 0.25}

    return make


def test_slides_without_files_are_refused_or_left_out(small):
    cohort = small()
    (cohort["features"] / "s03.h5").unlink()
    message = r"no features of 1 of 12 slides: s03 \(.*labels.csv, column 'slide_id', rows 5\)"
    with pytest.raises(StoreError, match=message):
        read_bags(**cohort)
    data = read_bags(**cohort, allow_missing=True)
    assert [(one.slide_id, one.reason) for one in data.cohort.left_out] == [
        ("s03", "no features file")
    ]
    assert "s03" not in data.label_table.slide_ids + sum(
        (data.split.train, data.split.val, data.split.test), ()
    )


def test_files_without_rows_are_collected(small, cohort_kit):
    cohort = small()
    extra = cohort_kit.write_slide(cohort["features"], "extra")
    assert read_bags(**cohort).cohort.unused == (extra,)


def test_slides_without_labels_are_refused_or_left_out(small):
    cohort = small(columns={"label": ["a", "b", "", "NA"] + ["a", "b"] * 4})
    with pytest.raises(
        LabelError, match=r"'label', rows 4, 5 \(s02, s03\): 2 of 12 slides have no"
    ):
        read_bags(**cohort)
    data = read_bags(**cohort, drop_unlabelled=True)
    assert [one.slide_id for one in data.cohort.left_out] == ["s02", "s03"]
    assert len(data.label_table) == 10
    assert data.cohort.unused == ()
    split = Split(train=tuple(IDS[:8]), test=tuple(IDS[8:12]))
    assert data.with_split(split).split.train == tuple(s for s in IDS[:8] if s not in IDS[2:4])
    with pytest.raises(SplitError, match=r"none of the 2 slides to train on"):
        data.with_split(Split(train=("s02", "s03"), test=tuple(IDS[4:8])))


def test_files_of_another_length_or_recipe_name_both(small, cohort_kit):
    cohort = small()
    cohort_kit.write_slide(cohort["features"], "s07", dim=5)
    with pytest.raises(
        StoreError, match=r"s00.h5 holds features of length 6, .*s07.h5 of length 5"
    ):
        read_bags(**cohort)
    cohort_kit.write_slide(cohort["features"], "s07", encoder="other")
    message = r"s00.h5 and .*s07.h5 were made in different .*encoder: 'toy' -> 'other'"
    with pytest.raises(IdentityMismatchError, match=message):
        read_bags(**cohort)


def test_slides_of_other_resolution_are_one_cohort(small, cohort_kit):
    cohort = small()
    cohort_kit.write_slide(cohort["features"], "s07", mpp=0.25)
    assert read_bags(**cohort).bag_files["s07"].slide_mpp == 0.25


def test_a_renamed_file_is_found_out(small):
    cohort = small()
    (cohort["features"] / "s07.h5").unlink()
    (cohort["features"] / "s08.h5").rename(cohort["features"] / "s07.h5")
    with pytest.raises(StoreError, match=r"s07.h5 says that it is about slide 's08'"):
        read_bags(**cohort, allow_missing=True)


def test_the_mpp_of_the_table_reaches_the_files(small, cohort_kit):
    cohort = small(columns={"mpp": ["0.5"] * 11 + ["0.25"], "label": ["a", "b"] * 6})
    with pytest.raises(StoreError, match=r"s11.h5 says slide_mpp 0.5, and 0.25 is given"):
        read_bags(**cohort)


def test_features_in_no_or_several_folders(small, cohort_kit, tmp_path):
    cohort = small()
    with pytest.raises(StoreError, match=r"none does not exist"):
        read_bags(**(cohort | {"features": tmp_path / "none"}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"empty holds no features; expected files ending in .h5"):
        read_bags(**(cohort | {"features": tmp_path / "empty"}))
    out = tmp_path / "out"
    (out / "tile_features").mkdir(parents=True)
    cohort["features"].rename(out / "tile_features" / "toy")
    assert len(read_bags(**(cohort | {"features": out})).bag_files) == 12
    cohort_kit.write_slide(out / "tile_features" / "uni", "s00")
    with pytest.raises(StoreError, match=r"several folders of features: toy, uni"):
        read_bags(**(cohort | {"features": out}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, r"batch_size is 0"),
        ({"token_budget": -1}, r"token_budget is -1"),
        ({"max_tiles": 0}, r"max_tiles is 0"),
        (
            {"sampling": "balanced", "task": "regression", "label_columns": ["age"]},
            r"sampling 'balanced' for a regression task",
        ),
        (
            {"class_weights": "balanced", "task": "cox", "label_columns": ["months", "died"]},
            r"class_weights 'balanced' for a cox task",
        ),
    ],
)
def test_settings_that_contradict(cohort, settings, message):
    with pytest.raises(ConfigError, match=message):
        read_bags(**(cohort | settings))


def test_labels_of_a_patient_must_agree_only_in_bags_of_patients(small):
    cohort = small(slides_per_patient=2, columns={"label": ["a", "b"] * 6})
    read_bags(**cohort)
    with pytest.raises(LabelError, match=r"slides of patient 'p0\d' have different labels"):
        read_bags(**cohort, bag="patient")


def test_the_signature_is_a_command_line(cohort):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataSettings, "data", instantiate=False)
    config = parser.parse_args(
        [
            f"--data.labels={cohort['labels']}",
            f"--data.features={cohort['features']}",
            "--data.task=multilabel",
            "--data.label_columns=[kras, braf]",
            "--data.batch_size=2",
        ]
    )
    data = read_bags(**config.data.as_dict())
    assert data.task_record.label_columns == ("kras", "braf")
    assert config.data.token_budget is None


def test_a_batch_is_limited_in_bags_and_in_tiles(cohort, monkeypatch):
    plain = read_bags(**cohort, batch_size=4)
    lengths = plain.dataset("train").lengths
    assert plain.largest_batch() == (4, max(lengths))
    kept, drawn_before = plain.identity(), [b.bag_ids for b in plain.train_dataloader()]
    assert (kept["batch_size"], kept["token_budget"]) == (4, None)  # as in older versions
    monkeypatch.setattr("slidenet.data.settings.DEFAULT_TOKEN_BUDGET", 2 * max(lengths))
    limited = read_bags(**cohort, batch_size=4)
    assert limited.largest_batch() == (2, max(lengths))
    assert limited.identity()["token_budget"] == 2 * max(lengths)
    for batch in limited.train_dataloader():
        assert batch.mask.numel() <= 2 * max(lengths)
    free = read_bags(**cohort, batch_size=4, token_budget=0)
    assert free.identity() == kept
    assert limited.with_batches_of_version_1().identity() == kept
    assert [b.bag_ids for b in free.train_dataloader()] == drawn_before


def test_a_budget_of_its_own_goes_with_a_number_of_bags_or_alone(cohort):
    longest = max(read_bags(**cohort).dataset("train").lengths)
    alone = read_bags(**cohort, token_budget=6 * longest)
    both = read_bags(**cohort, token_budget=6 * longest, batch_size=3)
    assert alone.settings.batching == (None, 6 * longest)
    assert max(len(b) for b in alone.train_dataloader()) > 3
    assert max(len(b) for b in both.train_dataloader()) == 3
    as_before = both.with_batches_of_version_1()
    assert as_before.identity() == alone.identity()
    tiny = read_bags(**cohort, token_budget=1)
    assert tiny.largest_batch() == (1, longest)
    assert {len(b) for b in tiny.train_dataloader()} == {1}
