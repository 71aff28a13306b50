"""What the child may use follows the threads it has, on machines with more cores than this one."""

import os
import resource
import subprocess
import sys

import pytest

from slidenet.slides.isolation import deaths
from slidenet.slides.limits import ReadingLimits

THREADS = """
import sys, threading
from slidenet.slides.isolation.budget import Budget

def together(count):
    gate = threading.Barrier(count)
    def work():
        gate.wait()
        kept = [bytes(600) for _ in range(9)]  # now malloc sets address space aside for the thread
        gate.wait()
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

budget = Budget()
budget.allow(100_000_000, num_threads=16)
together(4)
for count in (32, 8, 64):
    with budget.hold(10_000_000, count):
        together(count + 16 + 4)
together(16 + 4)
data = 0
with budget.hold(0, 0):
    try:
        bytearray(600_000_000)
    except MemoryError:
        data = 1
print("refused" if data else "given")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
@pytest.mark.parametrize("stack_mb", [8, 512])
def test_threads_have_room_whatever_malloc_sets_aside_for_them(stack_mb):
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard != resource.RLIM_INFINITY and hard < stack_mb << 20:
        pytest.skip("the shell allows no such stacks")
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        env={**os.environ, "MALLOC_ARENA_MAX": "500"},  # as where there are many cores
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (stack_mb << 20, hard)),
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert done.stdout == "refused\n", done.stderr


def test_a_machine_without_room_for_threads_is_no_fault_of_the_slide():
    words = "Traceback:\nRuntimeError: can't start new thread\n"
    error = deaths.explain(
        1, words, [], limits=ReadingLimits(), stored_bytes=1, slide="slide_0.svs"
    )
    assert "no room for another thread" in str(error)
    assert "--num-readers" in error.remedy
    assert "copy it again" not in error.remedy
