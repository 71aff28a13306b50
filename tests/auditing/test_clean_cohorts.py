"""Cohorts without a fault get no finding, whatever their size, task and seed."""

import numpy as np
import pytest

from slidenet.testing.cohorts.feature_cohort import generate_features

SHAPES = [
    {},
    {"num_patients": 24, "num_tiles": 36},
    {"num_patients": 96, "feature_dim": 8, "num_sites": 4},
    {"num_patients": 60, "slides_per_patient": (1, 3), "feature_dim": 200},
    {"num_patients": 40, "rule": "near_vs_far", "signal": 8.0, "num_sites": 2},
]


@pytest.mark.parametrize("seed", range(30))
def test_binary(audited_in_memory, seed):
    cohort = generate_features(seed=seed, **SHAPES[seed % len(SHAPES)])
    assert audited_in_memory(cohort) == []


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("multiclass", ["grade"]),
        ("ordinal", ["grade"]),
        ("multilabel", ["label", "second"]),
        ("regression", ["value"]),
        ("cox", ["time", "event"]),
        ("discrete_time", ["time", "event"]),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_other_tasks(audited_in_memory, kind, columns, seed):
    cohort = generate_features(num_patients=90, seed=seed)
    with_more_labels(cohort, np.random.default_rng(seed))
    ignored = {"label", "grade", "second", "value", "time", "event"} - set(columns)
    found = audited_in_memory(cohort, kind, columns, settings=ignoring(*ignored))
    # these labels are drawn at random and need not be in every small part
    assert {finding.code for finding in found} <= {"part-without-class"}


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("multiclass", ["grade"]),
        ("multilabel", ["label", "second"]),
        ("regression", ["value"]),
        ("cox", ["time", "event"]),
    ],
)
def test_a_site_that_tells_the_label_is_found_in_every_task(audited_in_memory, kind, columns):
    cohort = generate_features(num_patients=90, seed=5)
    with_more_labels(cohort, np.random.default_rng(5))
    for slide in cohort.slides:
        late = float(slide.row["time"]) > 5 if kind == "cox" else float(slide.row["value"]) > 0
        high = {"multiclass": slide.row["grade"] == "2", "multilabel": slide.row["second"] == "1"}
        slide.row["site"] = "site_1" if high.get(kind, late) else "site_0"
    ignored = {"label", "grade", "second", "value", "time", "event"} - set(columns)
    found = audited_in_memory(cohort, kind, columns, settings=ignoring(*ignored))
    told = [f for f in found if f.code == "metadata-tells-label"]
    assert len(told) == 1
    assert "column 'site'" in told[0].text


def ignoring(*columns):
    from slidenet.auditing import AuditSettings

    return AuditSettings(ignore_columns=columns)


def with_more_labels(cohort, rng):
    """Adds labels of other tasks, drawn per patient, that nothing tells."""
    drawn = {}
    for slide in cohort.slides:
        patient = slide.row["patient_id"]
        drawn.setdefault(
            patient,
            {
                "grade": str(rng.integers(3)),
                "second": str(int(rng.random() < 0.4)),
                "value": f"{rng.normal():.4f}",
                "time": f"{rng.exponential(8):.4f}",
                "event": str(int(rng.random() < 0.6)),
            },
        )
        slide.row |= drawn[patient]
