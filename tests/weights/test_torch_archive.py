"""What a file of torch may ask for: never more than it holds."""

import io
import re
import zipfile

import pytest
import torch

from slidenet.core.errors import StoreError
from slidenet.weights import read_tensor_file

CONTENT = {"text": "a", "weights": {"w": torch.arange(100.0), "n": torch.tensor(True)}}


def refusal(path, *, plain=True):
    """The one line that a file is refused with."""
    with pytest.raises(StoreError) as refused:
        read_tensor_file(path, what="bundle", error=StoreError, missing=StoreError, plain=plain)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.slidenet"
    torch.save(CONTENT, path)
    return path


def packed(source, path, method, extra=()):
    """The same records, packed by a method, and further ones."""
    with zipfile.ZipFile(source) as records, zipfile.ZipFile(path, "w", method) as archive:
        for record in records.infolist():
            archive.writestr(record.filename, records.read(record))
        for name, content in extra:
            archive.writestr(name, content)
    return path


def test_plain_values_and_tensors_are_read(saved):
    found = read_tensor_file(saved, what="bundle", plain=True)
    assert torch.equal(found["weights"]["w"], CONTENT["weights"]["w"])
    assert found["text"] == "a"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_hold_less_than_they_ask_for(saved, tmp_path):
    bomb = packed(saved, tmp_path / "b", zipfile.ZIP_DEFLATED, [("a/data/9", bytes(10**7))])
    assert bomb.stat().st_size < 10**5
    for plain in (True, False):
        assert "records are packed" in refusal(bomb, plain=plain)
    twice = packed(
        saved, tmp_path / "t", zipfile.ZIP_STORED, [("a/data/9", b""), ("a/data/9", b"")]
    )
    assert "two of its records have the same name" in refusal(twice)
    raw = bytearray(saved.read_bytes())
    # The size in the list of records; four bytes of each entry after its check sum.
    for entry in re.finditer(b"PK\x01\x02", bytes(raw)):
        raw[entry.start() + 20 : entry.start() + 28] = (2**31).to_bytes(4, "little") * 2
    saved.write_bytes(raw)
    assert "claim more bytes than" in refusal(saved)


def test_a_changed_number_is_found(saved):
    raw = bytearray(saved.read_bytes())
    place = raw.index(CONTENT["weights"]["w"].numpy().tobytes()[40:80])
    raw[place] ^= 1
    saved.write_bytes(raw)
    assert "bytes were changed" in refusal(saved)


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "value",
    [Calls(bytearray, 10**12), Calls(torch.Tensor, 10**6), Calls(print, "code"), {"a": io.BytesIO}],
)
def test_what_would_make_or_call_something_is_not_read(tmp_path, value, capsys):
    torch.save({**CONTENT, "more": value}, tmp_path / "a")
    assert "it holds more than tensors" in refusal(tmp_path / "a")
    assert capsys.readouterr().out == ""


def test_older_formats_are_for_weights_of_others(tmp_path):
    torch.save(CONTENT, tmp_path / "a", _use_new_zipfile_serialization=False)
    assert "cannot be read" in refusal(tmp_path / "a")
    assert read_tensor_file(tmp_path / "a", what="weights file")["text"] == "a"


@pytest.mark.parametrize("variable", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_no_variable_makes_torch_run_code(tmp_path, monkeypatch, variable, capsys):
    monkeypatch.setenv(variable, "1")
    torch.save({"a": Calls(print, "code")}, tmp_path / "a")
    for plain in (True, False):
        assert "more than tensors" in refusal(tmp_path / "a", plain=plain)
    assert capsys.readouterr().out == ""


def folded(kind):
    value = kind([0])
    for _ in range(60):
        value = kind([value, value])
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (folded(list), "larger than the file"),
        (folded(tuple), "larger than the file"),
        ([torch.zeros(10**6)] * 9, "larger than the file"),
        (torch.zeros(1).expand(10**12), "not there as a whole"),
    ],
)
def test_values_larger_than_their_file(tmp_path, value, words):
    torch.save({"version": value}, tmp_path / "a")
    assert words in refusal(tmp_path / "a")


def test_a_key_that_nobody_could_hash(saved, tmp_path):
    """Sixty tuples, each twice in the next one, the last as the key of a dict."""
    key = b")q\xf0" + b"h\xf0h\xf0\x86q\xf0" * 60
    with zipfile.ZipFile(saved) as records, zipfile.ZipFile(tmp_path / "k", "w") as archive:
        for record in records.infolist():
            content = records.read(record)
            if record.filename.endswith("data.pkl"):
                content = content[:-1] + key + b"}h\xf0K\x01s."
            archive.writestr(record.filename, content)
    assert "larger than the file" in refusal(tmp_path / "k")
