import pytest

from slidenet.slides.pyramid import check_levels


@pytest.mark.parametrize(
    ("dimensions", "downsamples"),
    [
        # Real slides: Aperio and her2st, whose smallest level openslide calls 1/63.777.
        ([(46000, 32914), (11500, 8228), (2875, 2057)], [1, 4, 16]),
        ([(9272, 9923), (2318, 2481), (580, 621), (145, 156)], [1, 4, 16, 64]),
        ([(4443, 3567), (2221, 1783)], [1, 2]),
        # A long slide: openslide's mean of both axes is 4.004, which is 60 px at its far end.
        ([(65003, 517), (16250, 129)], [1, 4]),
        # Sizes rounded up, and a single column of pixels.
        ([(1001, 999), (334, 333), (1, 1)], [1, 3, 1024]),
        # No whole factor, yet the same one in both axes.
        ([(25003, 10001), (10001, 4000)], [1, 2.5]),
    ],
)
def test_levels_of_one_picture(dimensions, downsamples):
    levels = check_levels(dimensions)
    assert [level.problem for level in levels] == [None] * len(levels)
    for level, downsample in zip(levels, downsamples, strict=True):
        assert level.downsample_x == pytest.approx(downsample, rel=1e-3)
        assert level.downsample_y == pytest.approx(downsample, rel=1e-3)
        if downsample != 2.5:
            assert level.downsample_x == level.downsample_y == downsample


@pytest.mark.parametrize(
    ("level_0", "level", "words"),
    [
        ((7168, 5632), (3584, 3072), "width is 1/2 and its height 1/1.83333"),  # padded to 512
        ((5632, 5632), (3072, 3072), "no whole factor"),  # padded, but alike in both axes
        ((5632, 5632), (1536, 1536), "no whole factor"),
        ((7168, 5632), (1600, 900), "another picture"),  # a macro photograph
        ((7168, 5632), (3584, 2800), "cropped"),
        ((7168, 5632), (3600, 2828), "no whole factor"),  # a border of 10 px
        ((18432, 2048), (512, 512), "width is 1/36"),  # one flipped bit in the width 2048
        ((2048, 2048), (4096, 4096), "larger than level 0"),
        ((2048, 2048), (0, 512), "no pixel"),
        ((200000, 100000), (50000, 12500), "height 1/8"),
    ],
)
def test_what_is_no_smaller_copy_is_named(level_0, level, words):
    checked = check_levels([level_0, level])
    assert checked[0].problem is None
    assert words in checked[1].problem
    assert (checked[1].width, checked[1].height) == level
