"""A worker as the process of the command sees it: starting it, hearing it, noticing its end."""

import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from slidenet.core.errors import WorkerError
from slidenet.pipelines.fleet.places import Place
from slidenet.pipelines.fleet.workers import Heard, Worker
from slidenet.slides.isolation.messages import LogLine

_PROGRAM = """
import json, os, sys
os.sched_setaffinity(0, json.loads(sys.argv[1]))
sys.path[:] = json.loads(sys.argv[2])
from slidenet.pipelines.fleet.worker import main
main(int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
"""
_LAST_WORDS_BYTES = 4096


class WorkerProcess(Worker):
    """A process at a place.

    It runs a program of its own, so that scripts without a main guard and notebooks can start it,
    in a process group of its own: Ctrl-C is for the process of the command, which tells it. It
    ends when its connection does.

    Args:
        place: Where it works.
        work_path: A pickle of the work.
        heard: Gets the process and each message of it; None when it has ended.

    Raises:
        WorkerError: It cannot be started.
    """

    def __init__(self, place: Place, work_path: Path, heard: Heard) -> None:
        super().__init__(place.name)
        self._place = place
        self._heard = heard
        self._last_words = b""
        self._connection, theirs = Pipe()
        try:
            self._process = self._start(theirs, work_path)
        except OSError as error:
            self._connection.close()
            raise WorkerError(
                f"no process can be started for {place.name} ({error.strerror})",
                remedy="see whether the machine has memory and processes left, or give fewer "
                "--devices",
            ) from error
        finally:
            theirs.close()
        self._draining = threading.Thread(target=self._drain, name="fleet-words", daemon=True)
        self._draining.start()
        threading.Thread(target=self._listen, name="fleet", daemon=True).start()

    def send(self, message: object) -> None:
        """Says something; of one that has ended, the end is heard."""
        with suppress(OSError):
            self._connection.send(message)

    def kill(self) -> None:
        """Ends it now."""
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Whether it ends in time."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def ending(self) -> str:
        """How it ended, with its last words."""
        code = self._process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"code {code}"
        lines = [x.strip() for x in self._last_words.decode(errors="replace").splitlines()]
        said = [line for line in lines if line]
        return f"{how}: {said[-1][:200]}" if said else how

    def _start(self, theirs: Connection, work_path: Path) -> "subprocess.Popen[bytes]":
        number = theirs.fileno()
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-c", _PROGRAM, json.dumps(self._place.cores)),
                *(json.dumps(sys.path), str(number), str(work_path)),
                str(logging.getLogger().getEffectiveLevel()),
            ],
            env=self._place.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=[number],
            process_group=0,
        )

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                break
            if isinstance(message, LogLine):
                logging.getLogger(message.logger).log(message.level, "%s", message.text)
            else:
                self._heard.put((self, message))
        if not self.wait(5.0):  # it hung up and lives on
            self.kill()
            self.wait(5.0)
        self._draining.join(timeout=1.0)
        self._connection.close()
        self._heard.put((self, None))

    def _drain(self) -> None:
        """Passes on what libraries print."""
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while text := os.read(pipe.fileno(), _LAST_WORDS_BYTES):
                self._last_words = (self._last_words + text)[-_LAST_WORDS_BYTES:]
                sys.stderr.write(text.decode(errors="replace"))
