"""A cohort in which more lesion means a larger value and an earlier event: regression, survival."""

import numpy as np

from slidenet.testing.cohorts.feature_cohort import GeneratedCohort, generate_features
from slidenet.testing.cohorts.lesion_cohort import LESION_CELLS


def generate_load_cohort(
    *,
    num_patients: int = 120,
    most_lesions: int = 6,
    noise: float = 0.3,
    hazard: float = 0.8,
    censored: float = 0.3,
    num_tiles: int = 64,
    feature_dim: int = 24,
    signal: float = 4.0,
    seed: int = 0,
) -> GeneratedCohort:
    """Slides with none to many lesions; `load`, `time` and `event` of their rows follow from them.

    Half the patients have no lesion, which the column `label` says; the others one to
    `most_lesions`. `load` is that number and some noise. `time` is drawn from an exponential
    distribution whose hazard grows with the number of lesions; those without an event are censored
    at some point before it.

    Args:
        num_patients: One slide each.
        most_lesions: Of a slide, blocks of two by two tiles.
        noise: Standard deviation of `load` around the number of lesions.
        hazard: By how much each lesion raises the logarithm of the hazard.
        censored: Share of the patients without an event.
        num_tiles: Of a full slide.
        feature_dim: Length of a feature vector.
        signal: How far lesion tiles lie from others, in deviations between tiles.
        seed: Decides everything.

    Raises:
        ConfigError: More lesions than a slide has room for.
    """
    cohort = generate_features(
        num_patients=num_patients,
        slides_per_patient=(1,),
        num_tiles=num_tiles,
        feature_dim=feature_dim,
        signal=signal,
        num_lesions=(1, most_lesions),
        seed=seed,
    )
    rng = np.random.default_rng((seed, 4))
    for slide in cohort.slides:
        assert slide.lesion is not None, "planted"
        count = slide.lesion.sum() / LESION_CELLS**2
        event = rng.random() >= censored
        time = np.exp(-hazard * count) * rng.exponential() * (1 if event else rng.uniform(0.3, 1))
        slide.row |= {
            "load": f"{count + noise * rng.normal():.4f}",
            "time": f"{100 * time + 0.01:.4f}",
            "event": str(int(event)),
        }
    return cohort
