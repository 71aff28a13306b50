"""Lines of the log cannot write to the terminal, whatever the names of files in them are."""

import logging

from slidenet.cli.main import _TerminalFormatter, main


def test_names_in_log_lines_are_escaped(tmp_path, capsys):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a\x1b[2J\x9b.svs").touch()
    assert main(["preprocess", "--slides", str(tmp_path / "slides"), "--out", str(tmp_path)]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert isinstance(logging.lastResort.formatter, _TerminalFormatter)
    record = logging.LogRecord("slidenet", logging.WARNING, "", 0, "%s\n%s", ("\x1b[2J", "b"), None)
    assert logging.lastResort.format(record) == "\\x1b[2J\nb"
