"""Quantiles of event times, as the times themselves are written."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def event_time_quantiles(
    times: npt.NDArray[np.floating], shares: Sequence[float] | npt.NDArray[np.floating]
) -> tuple[float, ...]:
    """Different quantiles of the times with an event, ascending.

    Args:
        times: (N,), at least one, in the precision of targets (float32) or above.
        shares: Which quantiles, between 0 and 1.
    """
    quantiles = np.unique(np.quantile(times, shares).astype(np.float32))
    # By way of text: 4.87 in float32 is 4.869999885559082 in float64, before the event at 4.87.
    return tuple(float(str(quantile)) for quantile in quantiles)
