import pytest

from slidenet.cli.main import main
from slidenet.core.errors import OutputError
from slidenet.stores import check_output_folder


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["validate", "s3://bucket/out"], "--paths is s3://bucket/out; expected a file or folder"),
        (["validate", "a", "s3://b/out"], "copy it here first (such as `aws s3 sync s3://b/out"),
        (["export-tiles", "--slides", "x", "--out", "s3://b/c"], "`aws s3 sync FOLDER s3://b/c`"),
    ],
)
def test_verbs_of_folders_refuse_addresses_in_one_line(capsys, arguments, said):
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_no_folder_is_made_that_is_named_as_a_bucket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="s3://bucket/out is the address of an object store"):
        check_output_folder("s3://bucket/out")
    assert not list(tmp_path.iterdir())
