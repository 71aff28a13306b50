import errno
import os

import pytest

from slidenet.core.errors import SystemFaultError, fault_of


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EIO, "see whether the disk or the share is well"),
        (errno.ESTALE, "see that the share is mounted and reachable"),
        (errno.ETIMEDOUT, "see that the share is mounted and reachable"),
        (errno.ENOENT, "nobody moves or deletes it"),
        (errno.EACCES, "to whom the file and its folder belong"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOSPC, "free some disk space"),
        (errno.EXDEV, "see whether the disk or the share is well"),
    ],
)
def test_a_disk_that_fails_is_one_line_with_what_to_do(number, words):
    fault = fault_of(OSError(number, os.strerror(number), "slides/a.svs"))
    assert isinstance(fault, SystemFaultError)
    text = str(fault.with_slide("a"))
    assert text.startswith(f"slide 'a': slides/a.svs: {os.strerror(number)}; expected ")
    assert words in text
    assert text.endswith("then run again: done work stays")


def test_memory_is_named_whoever_ran_out_of_it():
    class CudaError(RuntimeError):
        pass

    errors = [
        MemoryError(),
        OSError(errno.ENOMEM, "no"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        CudaError("CUDA out of memory.\nTried to allocate 20 GiB"),
        RuntimeError("std::bad_alloc"),
    ]
    for error in errors:
        text = str(fault_of(error))
        assert text.startswith("there is not enough memory for it (")
        assert "--batch-size" in text
        assert "\n" not in text


def test_numbers_and_nesting_beyond_all_bounds_are_the_fault_of_a_file():
    assert "too large a number" in str(fault_of(OverflowError("int too large")))
    assert "nested too deeply" in str(fault_of(RecursionError("maximum depth")))


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), KeyError("x"), ValueError("y")])
def test_mistakes_of_ours_are_no_faults_of_the_system(error):
    assert fault_of(error) is None
