"""Signals end a verb tidily, with the exit code of the signal."""

import os
import signal
import subprocess
import sys
import time

import pytest

from slidenet.cli import main as cli
from slidenet.cli.ending import told_to_end


class Told:
    """A verb that is sent signals while it works."""

    def __init__(self, monkeypatch):
        self.tidied = False
        self.monkeypatch = monkeypatch

    def run(self, *signals, error=None):
        def call(verb, name, arguments):
            try:
                for number in signals:
                    os.kill(os.getpid(), number)
                    time.sleep(0)
            except KeyboardInterrupt:
                if error is not None:
                    raise error from None
                raise
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # a scheduler that repeats itself
                self.tidied = True

        self.monkeypatch.setattr(cli.Verb, "call", call)
        return cli.main(["encoders"])


@pytest.fixture
def told(monkeypatch):
    return Told(monkeypatch)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGTERM, 143, "slidenet encoders: ended by SIGTERM; run it again to go on\n"),
        (signal.SIGINT, 130, "slidenet encoders: interrupted; run it again to go on\n"),
        (signal.SIGHUP, 129, "slidenet encoders: ended by SIGHUP; run it again to go on\n"),
    ],
)
@pytest.mark.parametrize("error", [None, SystemExit(1)], ids=["plain", "as Lightning does"])
def test_a_signal_is_an_exit_code(told, number, code, words, error, capsys):
    before = signal.getsignal(number)
    assert told.run(number, error=error) == code
    assert told.tidied
    assert capsys.readouterr().err == words
    assert signal.getsignal(number) is before


def test_handlers_of_others_stay():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with told_to_end() as ending:
            os.kill(os.getpid(), signal.SIGHUP)
        assert ending.signal is None
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_an_exit_without_a_signal_is_left_alone():
    with pytest.raises(SystemExit) as stopped:
        cli.main(["encoders", "--nonsense"])
    assert stopped.value.code == 2


SLOW = """
import sys, time
from slidenet.cli import main as cli
def call(verb, name, arguments):
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("tidied", flush=True)
cli.Verb.call = call
sys.exit(cli.main(["encoders"]))
"""


@pytest.mark.slow
def test_sigterm_wakes_a_process_that_waits():
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "at work\n"
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, "tidied\n")
    assert "ended by SIGTERM" in err
