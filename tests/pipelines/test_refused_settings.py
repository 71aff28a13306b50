"""Settings that cannot end with a model: one line, before the audit, and the folder stays free."""

import pytest

from slidenet.cli.main import main
from slidenet.testing import write_feature_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=30, num_tiles=4, feature_dim=8
    )


def arguments(cohort, out, *more):
    return [
        f"--data.labels={cohort.labels}",
        f"--data.features={cohort.features}",
        "--data.batch-size=4",
        "--model.network=mean",
        "--trainer.max-epochs=1",
        "--trainer.accelerator=cpu",
        f"--out={out}",
        *more,
    ]


def refusal(verb, cohort, out, capsys, *more):
    """The one line that a refused command leaves on stderr."""
    assert main([verb, *arguments(cohort, out, *more)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"slidenet {verb}: error: ")
    assert "\n" not in error  # nothing of the audit either
    return error


@pytest.mark.parametrize("verb", ["train", "crossval"])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model.network=meann"], "did you mean mean"),
        (["--model.learning-rate=-1"], "learning_rate"),
        (["--trainer.precision=64-true"], "bf16-mixed"),
    ],
)
def test_a_refused_setting_does_not_claim_the_folder(cohort, tmp_path, capsys, verb, more, words):
    out = tmp_path / "out"
    assert words in refusal(verb, cohort, out, capsys, *more)
    assert not out.exists()
    folds = ["--folds.num-folds=2", "--folds.only-folds=[0]"] if verb == "crossval" else []
    if "network" in more[0]:
        assert main([verb, *arguments(cohort, out, *folds)]) == 0
