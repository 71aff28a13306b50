"""Answers every call of `slidenet` (beside this file) in a process forked from this one.

forks.py SOCKET FLAG...

So that many commands cost the imports of one. Flags are put behind those of every command.
"""

import atexit
import functools
import gc
import json
import os
import signal
import socket
import sys
from importlib import import_module, metadata

IMPORTED = (
    *("openslide", "slidenet.cli.flags", "slidenet.cli.result", "slidenet.pipelines.run"),
    *("slidenet.tile_encoders.architecture", "slidenet.tile_encoders.checkpoints", "toy_encoder"),
)


def main() -> None:
    place, *flags = sys.argv[1:]
    for name in IMPORTED:
        import_module(name)
    import cv2

    # What is installed does not change meanwhile, and looking takes as long as all the rest.
    metadata.packages_distributions = functools.cache(metadata.packages_distributions)
    metadata.packages_distributions()
    cv2.setNumThreads(1)
    gc.collect()
    gc.freeze()  # memory that nobody writes to is not copied
    with listening(place) as server:
        print("ready", flush=True)
        serve(server, flags)


def listening(place: str) -> socket.socket:
    """Where calls come in."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(place)
    server.listen(64)
    return server


def serve(server: socket.socket, flags: list[str]) -> None:
    """Answers calls for ever; all that these need is imported."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those below
    while True:
        connection = server.accept()[0]
        if os.fork() == 0:
            server.close()
            answer(connection, flags)
        connection.close()


def answer(connection: socket.socket, flags: list[str]) -> None:
    """Starts the process that does the work, and says its number and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    call, descriptors, *_ = socket.recv_fds(connection, 1 << 20, 2)
    arguments, folder, environment = json.loads(call)
    pid = os.fork()
    if pid:
        connection.send(str(pid).encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.send(str(code if code >= 0 else 128 - code).encode())
        os._exit(0)
    connection.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for own, given in zip((1, 2), descriptors, strict=True):
        os.dup2(given, own)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, closefd=False) for n in (1, 2))
    from slidenet.cli.main import main as slidenet

    sys.argv = ["slidenet", *arguments, *flags]
    code = slidenet(sys.argv[1:])
    atexit._run_exitfuncs()  # an ordinary end would take torch to pieces, for a second
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
