import pytest

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.tile_images.names import places_in_names


@pytest.mark.parametrize(
    ("stems", "xy"),
    [
        (["1024_2048", "0_256"], [(1024, 2048), (0, 256)]),
        (["01024x_02048y", "00000x_00256y"], [(1024, 2048), (0, 256)]),
        (["TCGA-AA-3 (b)_512_1024", "TCGA-AA-3 (b)_0_5"], [(512, 1024), (0, 5)]),
        (["S-1-512-1024", "S-1-0-5"], [(512, 1024), (0, 5)]),
        (["S.1.01024x_02048y"], [(1024, 2048)]),
        (["S1_02048y_01024x", "00256y_00000x"], [(1024, 2048), (0, 256)]),
        (["y=2048,x=1024"], [(1024, 2048)]),
        (["slide_x512_y1024", "slide_x0_y5"], [(512, 1024), (0, 5)]),
        (["10253_idx5_x1001_y1051_class0"], [(1001, 1051)]),
        (["S1_x_512_y_1024_256"], [(512, 1024)]),
        (["X_512_Y_1024"], [(512, 1024)]),
        (["tile_7_level2_70536-7186-78729-15379"], [(70536, 7186)]),
        (["S1 [d=2,x=512,y=1024,w=512,h=512]", "S1 [x=0,y=5,w=512,h=512]"], [(512, 1024), (0, 5)]),
    ],
)
def test_places_are_read_as_the_tools_write_them(stems, xy):
    found = places_in_names(stems, slide="")
    assert found.xy == tuple(xy)
    assert found.kept == tuple(range(len(stems)))


@pytest.mark.parametrize(
    "stem", ["lungaca1", "tile", "", "12", "-5_10", "100_200b", "99999999999_1", "١٢_٣", "a_1-2"]
)
def test_other_names_say_no_place(stem):
    assert places_in_names([stem], slide="") is None


def test_names_of_some_tools_say_how_large_a_tile_is():
    qupath = places_in_names(["S [d=2.5,x=0,y=0,w=640,h=640]"], slide="")
    assert (qupath.downsamples, qupath.pattern.frame) == ({2.5}, "level0")
    histolab = places_in_names(["tile_0_level1_10-20-1034-1044"], slide="")
    assert (histolab.widths, histolab.pattern.frame) == ({1024}, "level0")


def test_a_picture_among_tiles_is_left_out():
    found = places_in_names(["0_0", "thumbnail", "16_0", "0_16"], slide="")
    assert found.kept == (0, 2, 3)


def test_places_in_few_of_the_names_are_no_set_of_tiles():
    with pytest.raises(UnreadableSlideError, match=r"1 of its 3 images end in a place \('5_6'\)"):
        places_in_names(["5_6", "a", "b"], slide="S1")


def test_a_size_behind_the_place_is_not_taken_for_y():
    stems = [f"{x}_{y}_256" for x in (0, 256) for y in (0, 256, 512)]
    with pytest.raises(UnreadableSlideError, match="y would be 256 in the names of all its 6"):
        places_in_names(stems, slide="S1")
    one_row = places_in_names([f"S_{x}_512" for x in range(5)], slide="")
    assert one_row.xy == tuple((x, 512) for x in range(5))
