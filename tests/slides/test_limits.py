import pytest

from slidenet.core.errors import ConfigError
from slidenet.slides.limits import LIMITS, ReadingLimits, current_limits, limits_in_force


def test_a_limit_is_above_zero():
    with pytest.raises(ConfigError, match="max_open_cpu_s is 0; expected a finite number above 0"):
        ReadingLimits(max_open_cpu_s=0)
    with pytest.raises(ConfigError, match=r"max_memory_bytes is 0\.5; expected a whole"):
        ReadingLimits(max_memory_bytes=0.5)


@pytest.mark.parametrize(
    ("stored", "seconds"), [(0, 8.0), (16_000_000, 8.0), (10**9, 992.0), (10**12, 3600.0)]
)
def test_the_time_of_an_overview_grows_with_the_bytes_stored(stored, seconds):
    assert LIMITS.overview_cpu_s(stored) == seconds


def test_limits_hold_inside_the_block_only():
    assert current_limits() is LIMITS
    with limits_in_force(ReadingLimits(max_tile_px=64)):
        assert current_limits().max_tile_px == 64
    assert current_limits() is LIMITS
