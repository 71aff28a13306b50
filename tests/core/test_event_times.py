import numpy as np

from slidenet.tasks.event_times import event_time_quantiles


def test_quantiles_are_different_ascending_and_written_as_the_times_are():
    times = np.array([4.87, 4.87, 9.3, 12.0], dtype=np.float32)
    assert event_time_quantiles(times, (0.0, 0.25, 1.0)) == (4.87, 12.0)
    assert event_time_quantiles(times.astype(np.float64), (2 / 3,)) == (9.3,)
