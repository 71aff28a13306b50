from dataclasses import replace

import h5py
import numpy as np
import pytest

from slidenet.core.errors import ExplanationError, IdentityMismatchError, StoreError
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.stores import (
    TileMap,
    TileMaps,
    existing_output,
    read_tile_maps,
    validate_file,
    write_tile_maps,
)

GEOMETRY = TileGeometry(SlideMpp(0.25, "override"), 0.5, 0.25, 0, 256, 256, 512, 4096, 4096)


def make_map(values=(0.5, np.nan, -1.5), method="evidence", target="tumour", **kwargs):
    settings = {"signed": True, "unit": "logit", "is_evidence": True} | kwargs
    return TileMap(np.asarray(values, np.float32), method, target, **settings)


def make_maps(*maps, slide_id="slide_1", num_tiles=3, **kwargs):
    coords = np.array([(512 * i, 0) for i in range(num_tiles)], np.int64).reshape(-1, 2)
    return TileMaps(
        slide_id, "/data/slide_1.svs", "sha256:feed", GEOMETRY, coords,
        maps or (make_map(details={"steps": 20}), make_map(method="attention", unit="share",
                                                           signed=False, is_evidence=False)),
        {"model": "0123"}, {"slide_1": {"words": "tumour 0.93"}}, **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize("reading", [1, 2])
def test_round_trip(tmp_path, reading):
    maps = replace(make_maps(features_digest="abc"), geometry=replace(GEOMETRY, reading=reading))
    path = write_tile_maps(tmp_path / "slide_1.h5", maps)
    found = read_tile_maps(path)
    for name in ("slide_id", "slide_path", "fingerprint", "geometry", "identity", "prediction",
                 "features_digest", "methods", "targets"):  # fmt: skip
        assert getattr(found, name) == getattr(maps, name), name
    np.testing.assert_array_equal(found.coords, maps.coords)
    for one, other in zip(found.maps, maps.maps, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.value_range() == (-1.5, 0.5)
        facts = ("method", "target", "signed", "unit", "is_evidence", "details", "title")
        assert all(getattr(one, name) == getattr(other, name) for name in facts)
    assert found.of("evidence", "tumour").details == {"steps": 20}
    assert validate_file(path) == []
    with pytest.raises(ExplanationError, match=r"'slide_1'.* no map by 'rollout' of 'tumour'"):
        found.of("rollout", "tumour")


def test_maps_of_what_the_model_calls_the_slide_come_first():
    pairs = [(method, target) for target in "abc" for method in ("evidence", "single_tile")]
    each = [make_map(method=method, target=target) for method, target in pairs]
    maps = replace(make_maps(*each), prediction={"bag": {"called": ["b"]}})
    assert maps.called_first == (2, 3, 0, 1, 4, 5)
    assert make_maps(*each).called_first == (0, 1, 2, 3, 4, 5)
    assert replace(maps, prediction={"bag": {"called": []}, "other": 3}).called_first[0] == 0


def test_what_is_no_evidence_says_so():
    assert make_map(is_evidence=False).title.endswith("; not evidence")
    assert make_map(method="mine").title == "mine"
    assert make_map(method="untrained:evidence").title.endswith("training (evidence)")


def test_no_tiles_and_no_value(tmp_path):
    maps = make_maps(make_map(values=()), num_tiles=0)
    found = read_tile_maps(write_tile_maps(tmp_path / "slide_1.h5", maps))
    assert found.num_tiles == 0
    assert np.isnan(found.maps[0].value_range()).all()


def test_same_input_same_bytes(tmp_path):
    first, second = (write_tile_maps(tmp_path / n / "slide_1.h5", make_maps()) for n in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_finished_file_stands_for_the_same_settings_and_features_only(tmp_path):
    path = write_tile_maps(tmp_path / "slide_1.h5", make_maps(features_digest="abc"))
    same = {"model": "0123"}
    assert existing_output(path, same, "sha256:feed", input_digest="abc")
    assert not existing_output(path, same, "sha256:feed", input_digest="other")
    with pytest.raises(IdentityMismatchError, match="model: '0123' -> '4567'"):
        existing_output(path, {"model": "4567"}, "sha256:feed", input_digest="abc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": (1.0, np.inf)}, "infinite at tile 1"),
        ({"values": np.zeros((2, 2))}, r"shape \(2, 2\)"),
        ({"unit": "probability"}, "unit 'probability'; expected logit or share or distance"),
        ({"target": ""}, "no name"),
    ],
)
def test_what_is_no_map(change, message):
    with pytest.raises(ExplanationError, match=message):
        make_map(**change)


def test_maps_that_do_not_fit_their_slide(tmp_path):
    with pytest.raises(ExplanationError, match=r"'slide_1'.* has 2 values; expected 3"):
        make_maps(make_map(values=(1, 2)))
    with pytest.raises(ExplanationError, match="two maps by 'evidence' of 'tumour'"):
        make_maps(make_map(), make_map())
    with pytest.raises(ExplanationError, match="no map to write"):
        write_tile_maps(tmp_path / "a.h5", replace(make_maps(), maps=()))
    assert list(tmp_path.iterdir()) == []


def test_a_changed_number_and_attributes_that_lie(tmp_path):
    path = write_tile_maps(tmp_path / "slide_1.h5", make_maps())
    with h5py.File(path, "r+") as h5:
        h5["maps"][0, 0] = 2
    assert validate_file(path) == ["/maps is not what was written (its digest is another one)"]
    with pytest.raises(StoreError, match="/maps is not what was written"):
        read_tile_maps(path)
    with h5py.File(path, "r+") as h5:
        h5["maps"][0, 0] = np.inf
        h5["slidenet"].attrs["maps"] = np.bytes_(b'{"0": {"method": 3}}')
    assert validate_file(path) == ["/maps holds infinite values in row 0"]
    with pytest.raises(StoreError, match="attribute 'maps' says of a map"):
        read_tile_maps(path)
    with h5py.File(path, "r+") as h5:
        h5["slidenet"].attrs["num_maps"] = np.int64(3)
    assert "expected (3, 3) by the attributes" in validate_file(path)[0]
