import h5py
import numpy as np
import pytest

from slidenet.core.errors import EncoderError, IdentityMismatchError, StoreError
from slidenet.stores import (
    existing_output,
    read_slide_embedding,
    read_slide_embeddings,
    validate_file,
    write_slide_embedding,
)

RECIPE = {"pooling": "mean", "features": {"dtype": "float16"}}


def write(folder, name, *, slide_id=None, value=1.0, identity=RECIPE, dim=4):
    return write_slide_embedding(
        folder / f"{name}.h5",
        np.full(dim, value),
        slide_id=slide_id or name,
        fingerprint=f"sha256:{name}",
        identity=identity,
        encoder_identity={"id": "mean"},
        num_tiles=7,
    )


def test_round_trip(tmp_path):
    path = write(tmp_path, "a", value=1 / 3)
    found = read_slide_embedding(path)
    assert found.slide_embedding.dtype == np.float32
    np.testing.assert_array_equal(found.slide_embedding, np.full(4, np.float32(1 / 3)))
    assert (found.slide_id, found.fingerprint, found.num_tiles) == ("a", "sha256:a", 7)
    assert (found.identity, found.encoder) == (RECIPE, {"id": "mean"})
    assert validate_file(path) == []


def test_one_flipped_bit_of_the_vector_is_found(tmp_path):
    path = write(tmp_path, "a", value=1 / 3)
    with h5py.File(path) as file:
        offset = file["slide_embedding"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 5] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreError, match="cannot be read as HDF5"):
        read_slide_embedding(path)
    assert validate_file(path)


def test_same_input_same_bytes(tmp_path):
    first, second = write(tmp_path / "x", "a"), write(tmp_path / "y", "a")
    assert first.read_bytes() == second.read_bytes()


def test_a_folder_as_a_matrix(tmp_path):
    for name, value in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        write(tmp_path, name, value=value)
    (tmp_path / ".d.h5.tmp").write_text("left by a kill")
    (tmp_path / "notes.txt").write_text("not ours")
    ids, matrix = read_slide_embeddings(tmp_path)
    assert ids == ["a", "b", "c"]
    np.testing.assert_array_equal(matrix, [[1] * 4, [2] * 4, [3] * 4])


def test_mixed_recipes_are_refused_and_named(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b", identity={**RECIPE, "features": {"dtype": "float32"}})
    with pytest.raises(
        IdentityMismatchError,
        match=r"a.h5 and .*b.h5 .*\(features.dtype: 'float16' -> 'float32'\)",
    ):
        read_slide_embeddings(tmp_path)


def test_slides_with_inputs_of_their_own_are_one_cohort(tmp_path):
    for name, mpp in (("a", 0.25), ("b", 0.5)):
        write(tmp_path, name, identity={**RECIPE, "tiles": {"inputs": {"slide_mpp": mpp}}})
    assert read_slide_embeddings(tmp_path)[0] == ["a", "b"]


def test_a_slide_that_comes_twice(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b", slide_id="a")
    with pytest.raises(StoreError, match=r"'a': .*a.h5 and .*b.h5 are both about this slide"):
        read_slide_embeddings(tmp_path)


def test_lengths_that_differ(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b", dim=5)
    with pytest.raises(StoreError, match=r"a.h5 .* 4, .*b.h5 .* 5"):
        read_slide_embeddings(tmp_path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(StoreError, match="holds no slide embeddings"):
        read_slide_embeddings(tmp_path)


def test_a_folder_of_features(features_file):
    with pytest.raises(StoreError, match=r"features file, not a slidenet.slide_embedding file"):
        read_slide_embeddings(features_file.parent)


@pytest.mark.parametrize(
    ("embedding", "message"),
    [(np.zeros((1, 4)), r"shape \(1, 4\)"), (np.zeros(0), "shape"), ([1.0, np.nan], "NaN")],
)
def test_what_cannot_be_stored(tmp_path, embedding, message):
    with pytest.raises(EncoderError, match=f"'a': .*{message}"):
        write_slide_embedding(
            tmp_path / "a.h5",
            embedding,
            slide_id="a",
            fingerprint="f",
            identity=RECIPE,
            encoder_identity={},
            num_tiles=1,
        )
    assert list(tmp_path.iterdir()) == []


def test_validate_sees_nan_and_length(tmp_path):
    path = write(tmp_path, "a")
    with h5py.File(path, "r+") as file:
        file["slide_embedding"][1] = np.nan
    assert validate_file(path) == ["/slide_embedding holds NaN or infinite values"]
    with h5py.File(path, "r+") as file:
        file["slidenet"].attrs["feature_dim"] = np.int64(5)
    assert validate_file(path) == [
        "/slide_embedding has shape (4,); expected (5,) by the attributes of the file"
    ]


def test_files_before_and_after_windows_were_marked_are_one_cohort(tmp_path):
    def made_with(pattern, **settings):
        return {"slide_encoder": {"attention": pattern, "attention_settings": settings}}

    old = made_with("longformer", window=9)
    new = made_with("longformer", window=9, window_rule="keys")
    path = write(tmp_path / "same", "a", identity=old)
    write(tmp_path / "same", "b", identity=new)
    assert read_slide_embeddings(tmp_path / "same")[0] == ["a", "b"]
    assert existing_output(path, new, "sha256:a") is True
    # Without a window the strides of the two ages are not the same.
    path = write(tmp_path / "other", "a", identity=made_with("strided"))
    assert existing_output(path, made_with("strided", window_rule="half"), "sha256:a") is True
    with pytest.raises(IdentityMismatchError, match=r"rule: None -> 'keys'\).*rule='half'"):
        existing_output(path, made_with("strided", window_rule="keys"), "sha256:a")
