import subprocess
import sys

import pytest

from slidenet.cli.main import VERBS, main

FORBIDDEN = ("torch", "timm", "numpy", "h5py", "openslide", "jsonargparse", "lightning")


def test_overview_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in VERBS)


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, slidenet\n"
        "from slidenet.cli.main import main\n"
        "main(['--help'])\n"
        f"print([m for m in {FORBIDDEN!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_unknown_verb_names_the_nearest(capsys):
    assert main(["preproces"]) == 2
    assert "did you mean preprocess" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"slidenet {verb}" in text
    assert "--target_mpp" not in text  # flags are spelled with dashes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verbs", "unneeded"),
    [
        (("info", "preprocess", "validate", "encoders"), ("torch", "timm", "scipy", "sklearn")),
        # timm comes when an encoder is built, not before the settings are known to be right.
        (("embed-tiles", "embed-slides"), ("timm", "lightning", "scipy", "sklearn", "pandas")),
    ],
)
def test_verbs_start_without_what_they_do_not_need(verbs, unneeded):
    modules = ", ".join("slidenet." + VERBS[verb].function.split(":")[0] for verb in verbs)
    code = f"import sys, {modules}; print([m for m in {unneeded!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_stops_early_sees_no_traceback():
    command = [sys.executable, "-m", "slidenet.cli.main", "encoders"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["audit", "--labels", "x"], "--labels is now --data.labels"),
        (["audit", "--label-columns=a,b"], "--label-columns is now --data.label-columns"),
        (["train", "--data.split-file", "x"], "--data.split-file is now --data.splits"),
        (["crossval", "--folds.splits=x"], "--folds.splits is now --data.splits"),
        (["run", "--slide-device", "cpu"], "--slide-device is now --device"),
        (["embed-slides", "--slide-device", "cpu"], "--slide-device is now --device"),
        (["info", "a.svs", "--slide-mpp", "0.5"], "--slide-mpp is now --mpp"),
        (["plan", "--ranks", "2"], "--ranks is now --sequence-ranks"),
    ],
)
def test_former_flags_name_the_new_ones(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert f"error: {words}. To fix" in capsys.readouterr().err
