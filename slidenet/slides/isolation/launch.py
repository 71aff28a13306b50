"""How a child process is started."""

import json
import os
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe

from slidenet.core.errors import SlideError

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[3])
from slidenet.slides.isolation.child import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""
# glibc gives freed megabytes back to the kernel until it has seen larger blocks freed, which a
# process that hands over its pixels in shared memory never does: 12 % of the time of 512 px tiles.
_MEMORY_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


def start_process(shared: int | None) -> tuple[Connection, "subprocess.Popen[bytes]"]:
    """Starts a child process.

    It runs a program of its own, so that scripts without a main guard and notebooks can start it.
    It is in a process group of its own: Ctrl-C in a terminal is for the parent, which ends it.

    Args:
        shared: Descriptor of the file for pixels, or None.

    Returns:
        Our end of the connection, and the process.

    Raises:
        SlideError: It cannot be started.
    """
    ours, theirs = Pipe()
    numbers = [theirs.fileno(), *([] if shared is None else [shared])]
    try:
        process = subprocess.Popen(
            [
                # -P: nothing is imported from the folder it happens to run in.
                *(sys.executable, "-P", "-c", _PROGRAM),
                *(str(theirs.fileno()), str(-1 if shared is None else shared)),
                json.dumps(sys.path),
            ],
            env={**_MEMORY_KEPT, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=numbers,
            process_group=0,
        )
    except OSError as error:
        ours.close()
        raise SlideError(
            f"the process that reads slides cannot be started ({error.strerror})",
            remedy="see whether the machine has memory and processes left, or give --no-isolate",
        ) from error
    finally:
        theirs.close()
    return ours, process
