import pytest

from slidenet.core.errors import IdentityMismatchError, StoreError
from slidenet.stores import existing_output, identity_of, write_tile_set


def test_recipe_of_every_kind(features_file, tmp_path, tile_set, toy):
    assert identity_of(features_file) == toy.RECIPE
    assert identity_of(write_tile_set(tmp_path / "t.h5", tile_set)) == toy.TILES_RECIPE


def test_nothing_there(tmp_path, toy):
    assert existing_output(tmp_path / "absent.h5", toy.RECIPE, "sha256:feed") is False


def test_the_same_work(features_file, toy):
    assert existing_output(features_file, toy.RECIPE, "sha256:feed") is True


def test_tuples_and_lists_are_the_same_recipe(features_file, toy):
    tiles = {**toy.TILES_RECIPE, "filters": ("blank",)}
    assert existing_output(features_file, {**toy.RECIPE, "tiles": tiles}, "sha256:feed") is True


def test_another_recipe_names_the_innermost_setting(features_file, toy):
    identity = {**toy.RECIPE, "encoder": {**toy.ENCODER, "precision": "float16"}}
    with pytest.raises(IdentityMismatchError) as error:
        existing_output(features_file, identity, "sha256:feed")
    assert str(error.value) == (
        f"slide 'slide_1': {features_file} was made with other settings "
        "(encoder.precision: 'float32' -> 'float16'). To fix: choose another output folder, or "
        "pass --overwrite to replace it"
    )


def test_another_slide(features_file, toy):
    with pytest.raises(IdentityMismatchError, match=r"\(sha256:feed -> sha256:beef\).*--overwrite"):
        existing_output(features_file, toy.RECIPE, "sha256:beef")


def test_a_broken_file_is_no_finished_work(features_file, toy):
    features_file.write_bytes(features_file.read_bytes()[:5000])
    with pytest.raises(StoreError, match="delete it and make it again"):
        existing_output(features_file, toy.RECIPE, "sha256:feed")
