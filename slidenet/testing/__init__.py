"""Floor 3: generated slides and cohorts whose every property is known, and ways to break them."""

from slidenet.testing.cohorts.feature_cohort import FeatureCohort, read_lesion_tiles
from slidenet.testing.cohorts.feature_faults import (
    FEATURE_FAULTS,
    FILE_FAULTS,
    write_feature_cohort,
)
from slidenet.testing.cohorts.fusion_cohort import FusionCohort, write_fusion_cohort
from slidenet.testing.cohorts.lesion_cohort import LesionRule, place_lesions, write_lesion_cohort
from slidenet.testing.painting import Lesion, Overlay, Painter, Stain, plain, with_overlays
from slidenet.testing.pyramid import corrupt_tile, truncate_file, write_pyramid
from slidenet.testing.synthetic import Blob, SyntheticSlide, synthetic_slide, write_synthetic_slide

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "Blob",
    "FEATURE_FAULTS",
    "FILE_FAULTS",
    "FeatureCohort",
    "FusionCohort",
    "Lesion",
    "LesionRule",
    "Overlay",
    "Painter",
    "Stain",
    "SyntheticSlide",
    "corrupt_tile",
    "place_lesions",
    "plain",
    "read_lesion_tiles",
    "synthetic_slide",
    "truncate_file",
    "with_overlays",
    "write_feature_cohort",
    "write_fusion_cohort",
    "write_lesion_cohort",
    "write_pyramid",
    "write_synthetic_slide",
]
