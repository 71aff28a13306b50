"""Auditing a generated cohort as `slidenet audit` does: from disk, or quickly from memory."""

from pathlib import Path

import numpy as np
import pytest

from slidenet.auditing import audit_cohort, cohort, read_table_leniently
from slidenet.core.records import SlideRow
from slidenet.data import Split, find_bag_files, make_task, read_splits
from slidenet.data.labels.table import LabelTable
from slidenet.stores.foreign import BagFacts, BagFeatures
from slidenet.stores.foreign.geometry import Geometry


@pytest.fixture(scope="session")
def audited():
    """Findings of a cohort on disk."""

    def run(paths, **settings):
        table, findings = read_table_leniently(paths.labels)
        task = make_task(table, "binary", ["label"])
        files, splits = find_bag_files(paths.features), read_splits(paths.splits)
        return findings + audit_cohort(table, task, files, splits, **settings)

    return run


class _InMemory:
    def __init__(self, slide):
        self.slide = slide

    def read_features(self, where):
        return self.slide.features[where]

    def read_coords(self):
        return self.slide.coords

    def read_mask(self):
        return np.ones(len(self.slide.coords), np.bool_)

    def close(self):
        pass


@pytest.fixture
def audited_in_memory(monkeypatch):
    """Findings of a `GeneratedCohort` that is never written, for any task."""

    def run(generated, kind="binary", columns=("label",), **settings):
        slides = {slide.slide_id: slide for slide in generated.slides}

        def open_bag(path, **given):
            slide = slides[path.stem]
            geometry = Geometry(0.5, 256, 0.5)
            facts = BagFacts(
                path, path.stem, "slidenet", *slide.features.shape, geometry, slide.identity,
                slide.fingerprint,
            )  # fmt: skip
            return BagFeatures(facts, _InMemory(slide))

        monkeypatch.setattr(cohort, "open_bag_features", open_bag)
        table = table_of(generated)
        task = make_task(table, kind, list(columns))
        files = {slide_id: Path(f"{slide_id}.h5") for slide_id in slides}
        return audit_cohort(table, task, files, splits_of(generated), **settings)

    return run


def table_of(generated):
    """The table of labels, without a file."""
    rows = []
    for slide in generated.slides:
        cells = {k: v for k, v in slide.row.items() if k not in ("slide_id", "patient_id")}
        rows.append(SlideRow(slide.slide_id, "", None, slide.row["patient_id"], cells))
    columns = tuple(generated.slides[0].row)
    return LabelTable(Path("labels.csv"), columns, tuple(rows), tuple(range(2, len(rows) + 2)))


def splits_of(generated):
    """The folds the cohort comes with."""
    splits = []
    for fold in range(len(generated.slides[0].splits)):
        listed = {part: [] for part in ("train", "val", "test")}
        for slide in generated.slides:
            listed[slide.splits[fold]].append(slide.slide_id)
        splits.append(Split(**{part: tuple(found) for part, found in listed.items()}))
    return splits
