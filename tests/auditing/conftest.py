"""Auditing a generated cohort as `slidenet audit` does: from disk, or quickly from memory."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from slidenet.auditing import audit_cohort, cohort, read_table_leniently
from slidenet.core.records import SlideRow
from slidenet.data import Split, find_bag_files, make_task, read_splits
from slidenet.data.labels.table import LabelTable
from slidenet.stores import FeatureFile


@pytest.fixture(scope="session")
def audited():
    """Findings of a cohort on disk."""

    def run(paths, **settings):
        table, findings = read_table_leniently(paths.labels)
        task = make_task(table, "binary", ["label"])
        files, splits = find_bag_files(paths.features), read_splits(paths.splits)
        return findings + faults(audit_cohort(table, task, files, splits, **settings))

    return run


class _InMemory:
    def __init__(self, slide):
        self.slide = slide

    def open(self):
        return nullcontext()

    def proof(self, handle):
        """None: what was never written has no digests."""

    def read_features(self, handle, where):
        return self.slide.features[where]

    def read_coords(self, handle):
        return self.slide.coords

    def read_status(self, handle):
        return np.zeros(len(self.slide.coords), np.uint8)


@pytest.fixture
def audited_in_memory(monkeypatch):
    """Findings of a `GeneratedCohort` that is never written, for any task."""

    def run(generated, kind="binary", columns=("label",), **settings):
        slides = {slide.slide_id: slide for slide in generated.slides}

        def open_bag(path, **given):
            slide = slides[path.stem]
            return FeatureFile(
                path=path,
                layout="slidenet",
                slide_id=path.stem,
                num_tiles=len(slide.features),
                feature_dim=slide.features.shape[1],
                dtype=slide.features.dtype,
                slide_mpp=0.5,
                tile_size_px=256,
                target_mpp=0.5,
                identity=slide.identity,
                source=_InMemory(slide),
                fingerprint=slide.fingerprint,
            )

        monkeypatch.setattr(cohort, "open_features", open_bag)
        table = table_of(generated)
        task = make_task(table, kind, list(columns))
        files = {slide_id: Path(f"{slide_id}.h5") for slide_id in slides}
        return faults(audit_cohort(table, task, files, splits_of(generated), **settings))

    return run


def faults(findings):
    """Without what is measured of every cohort."""
    return [finding for finding in findings if finding.code != "site-robustness"]


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
