"""Lightning without its advice where the advice is wrong for bags; everything else stays."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NOT_FOR_BAGS = (
    # A bag is one read of an h5 file; workers cost more than they bring until bags are large.
    r"The '\w+' does not have many workers",
    # A resumed fit writes into the folder it began in, which is what the user asked for.
    r"Checkpoint directory .* exists and is not empty",
    r"Experiment logs directory .* exists and is not empty",
    # A fit without a validation set is a choice, and said once by the verb.
    r"You defined a `validation_step` but have no `val_dataloader`",
    r"Total length of `list` across ranks is zero",
    # Of Lightning's own code, not of its user's.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Within it, Lightning says what is wrong and nothing else.

    Hardware listings and tips are left out with the warnings above; other warnings are shown.
    """
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in NOT_FOR_BAGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(before)
