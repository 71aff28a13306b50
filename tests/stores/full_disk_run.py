"""Run as a script: writes one features file where no file may grow beyond a limit.

Arguments: the file and the limit in bytes. HDF5 that meets such an error by itself ends the
process with a segmentation fault, hence a process of its own.
"""

import resource
import signal
import sys

from conftest import make_tile_set, write_features

from slidenet.core.errors import OutputError


def main(path, limit):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        write_features(path, make_tile_set())
    except OutputError as error:
        print(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
