"""Processes end with the one that started them, however that ends. A few launches, so slow."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

from slidenet.slides import open_slide
from slidenet.slides.isolation import end_all_processes

pytestmark = pytest.mark.slow

# No main guard: it must not be needed.
SCRIPT = """
import sys, threading
from slidenet.slides import open_slide
path, reader, name = sys.argv[1:4]
slide = open_slide(path, mpp=1.0, reader=reader, isolate=True)
print(slide._process.pid, flush=True)
if name == "busy":
    slide.read_region((0, 0), 0, (8, 8))
elif name == "forgotten":
    threading.Thread(target=slide.read_region, args=((0, 0), 0, (8, 8)), daemon=True).start()
"""


@pytest.fixture
def launch(faulty, tmp_path):
    """Starts a script that opens a slide; gives it and the number of the child."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = []

    def start(name, fault="loop"):
        path, reader = faulty(fault)
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([*sys.path]))
        process = subprocess.Popen(
            [sys.executable, script, path, reader, name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def gone(pid, seconds=30):
    """Whether a process ends in time; one that is not ours."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True  # nobody has asked for its end yet
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return False


def test_no_orphan_of_a_parent_that_is_killed(launch):
    parent, child = launch("busy")
    time.sleep(0.5)
    os.kill(parent.pid, signal.SIGKILL)
    assert gone(child)


def test_control_c_ends_both(launch):
    parent, child = launch("busy")
    time.sleep(0.5)
    os.killpg(parent.pid, signal.SIGINT)
    parent.wait(timeout=60)
    assert "KeyboardInterrupt" in parent.stderr.read()
    assert gone(child)


def test_a_job_that_is_ended_is_no_crash_of_a_slide(noise_slide):
    with open_slide(noise_slide, isolate=True) as slide:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(slide._process.pid, number)
        assert slide.read_region((0, 0), 0, (2, 2)).shape == (2, 2, 3)


def test_a_script_that_ends_without_closing(launch):
    parent, child = launch("forgotten")
    assert parent.wait(timeout=60) == 0, parent.stderr.read()
    assert gone(child)


def test_nothing_is_imported_from_the_folder_it_runs_in(noise_slide, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(tmp_path)
    end_all_processes()
    with open_slide(noise_slide, isolate=True) as slide:
        assert slide.level_dimensions


def test_a_fork_reads_with_a_process_of_its_own(noise_slide):
    with open_slide(noise_slide, isolate=True) as slide:
        here = slide.read_region((3, 4), 0, (20, 10))
        pid = os.fork()
        if pid == 0:
            code = 1
            with suppress(BaseException):
                same = np.array_equal(slide.read_region((3, 4), 0, (20, 10)), here)
                slide.close()
                code = 0 if same else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        np.testing.assert_array_equal(slide.read_region((3, 4), 0, (20, 10)), here)
