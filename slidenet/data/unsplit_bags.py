"""The bags of a cohort before anybody has cut it into folds."""

import inspect
from pathlib import Path

from slidenet.core.errors import ConfigError
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import Split

OWN_SPLIT = ("splits", "fold", "val_fraction", "test_fraction")


class UnsplitBags(BagDataModule):
    """`BagDataModule` that makes no split of its own: every bag is in train until `with_split`.

    So a cohort too small for train, val and test can still be cut into folds, and settings of a
    split that nobody would use are refused.

    Args: as `BagDataModule`.

    Raises:
        ConfigError: A setting of the split is given.
    """

    def _own_split(
        self, splits: Path | None, fold: int, val_fraction: float, test_fraction: float
    ) -> Split:
        parameters = inspect.signature(BagDataModule.__init__).parameters
        values = (splits, fold, val_fraction, test_fraction)
        given = [n for n, v in zip(OWN_SPLIT, values, strict=True) if v != parameters[n].default]
        if given:
            flags = " and ".join("--data." + name.replace("_", "-") for name in given)
            raise ConfigError(
                f"{flags} given for a cross-validation, which uses every fold",
                expected="settings of the folds",
                remedy="give --folds.only-folds instead"
                if "fold" in given
                else "give --folds.num-folds and --folds.inner-val-fraction instead",
            )
        return Split(train=self.label_table.slide_ids)
