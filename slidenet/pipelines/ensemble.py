"""`slidenet ensemble`: several trained models as one file, used like any bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import ConfigError
from slidenet.core.text import text_table
from slidenet.evaluation.operating_points import ThresholdRule
from slidenet.pipelines.applying.ensembles import make_ensemble
from slidenet.stores import check_output_folder
from slidenet.training import Ensemble


@dataclass(frozen=True)
class EnsembleReport:
    """What was put together.

    Attributes:
        model: As it was written.
        lines: What to know about it.
        path: The file.
        exit_code: Always 0; a failure raises.
    """

    model: Ensemble
    lines: Sequence[str]
    path: Path
    exit_code: int = 0

    def table(self) -> str:
        """The members, what to know, and where it lies."""
        rows = []
        for number, member in enumerate(self.model.members):
            score, cut = member.training.get("score"), member.calibration.threshold
            rows.append(
                [
                    str(number),
                    str(member.module.hparams["network"]),
                    f"{score:.3f}" if isinstance(score, float) else "",
                    "" if cut is None else f"{cut:.3f}",
                ]
            )
        header = ["member", "network", "monitor on val", "cut-off"]
        text = text_table(header, rows, right=(2, 3), rule=False)
        return "\n".join([text, "", *self.lines, f"wrote {self.path}"])


def ensemble(
    bundles: list[str],
    out: str | Path,
    *,
    threshold_rule: ThresholdRule | None = None,
    allow_code: bool = False,
) -> EnsembleReport:
    """Put several trained models together as one bundle.

    Its prediction is the mean of theirs. `slidenet crossval` writes one by itself.

    Args:
        bundles: Models of one task and one kind of features: model.slidenet files, folders of
            `slidenet train`, or the folder of a `slidenet crossval`, whose out-of-fold predictions
            then choose the cut-off and make prediction sets.
        out: The file to write, such as ensemble.slidenet.
        threshold_rule: How the cut-off of a binary task is chosen; default: as the folds did.
        allow_code: Let the bundles name classes outside slidenet; importing them runs their code.

    Raises:
        ConfigError, IdentityMismatchError: Models that do not fit together, naming both.
        StoreError: Something is missing or damaged.
    """
    path = Path(out)
    sources = [Path(bundle) for bundle in bundles]
    if path.is_dir() or path.resolve() in [source.resolve() for source in sources]:
        raise ConfigError(
            f"--out {path} is {'a folder' if path.is_dir() else 'one of the bundles'}",
            expected="the file to write, such as ensemble.slidenet",
        )
    check_output_folder(path.parent)
    made, section = make_ensemble(
        sources, path, threshold_rule=threshold_rule, allow_code=allow_code
    )
    return EnsembleReport(made, section.lines, path)
