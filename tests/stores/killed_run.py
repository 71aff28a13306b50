"""Run as a script by tests that kill it: writes one features file, pausing where it is told.

Arguments: the file, and "batches", "rename" or "clean-up" for where to be slow.
"""

import os
import sys
import time

from conftest import make_tile_set, open_writer, write_features

from slidenet.stores.features import spool


def main(path, pause):
    real_replace, real_delete = os.replace, spool.Spool.delete

    def slow_replace(*args):
        say_and_wait()
        real_replace(*args)

    def slow_delete(self):
        say_and_wait()
        real_delete(self)

    if pause == "rename":
        os.replace = slow_replace
    elif pause == "clean-up":
        spool.Spool.delete = slow_delete
    else:
        slow_append = open_writer.__globals__["FeatureWriter"].append

        def append(self, *args):
            slow_append(self, *args)
            print(self.num_done, flush=True)
            time.sleep(0.02)

        open_writer.__globals__["FeatureWriter"].append = append
    write_features(path, make_tile_set(), unreadable=(5, 300))


def say_and_wait():
    print("here", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
