"""Many processes share one small cache of objects, and some of them are killed.

Each stages objects of a local S3 server in random order, fetches others ahead, and compares what it
gets; after every step of any of them the cache must be within its limit. Some are killed in the
middle; at the end one more process must find room for the largest object.

    python scripts/check_object_cache.py --processes 4 --kills 2 --steps 60
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slidenet.stores.objects import ObjectCache, store_of
from slidenet.stores.objects.room import CacheRoom
from slidenet.testing.s3_server import become_user, s3_server

BUCKET, NUM_OBJECTS, UNIT_BYTES = "slides", 12, 300_000
LIMIT_BYTES = 3 * NUM_OBJECTS * UNIT_BYTES
"""Three times the largest object, of about six times as much in all."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="of each process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work is not None:
        return work(asked.work, asked.steps, asked.seed)
    with tempfile.TemporaryDirectory(prefix="slidenet-") as folder:
        return check(Path(folder), asked)


def check(folder: Path, asked: argparse.Namespace) -> int:
    with s3_server() as address:
        become_user(address)
        fill()
        processes = [start(folder, asked.steps, asked.seed + n) for n in range(asked.processes)]
        chance, room = random.Random(asked.seed), CacheRoom(folder, LIMIT_BYTES)
        most, kills = 0, asked.kills
        while any(process.poll() is None for process in processes):
            most = max(most, taken(room))
            if kills and chance.random() < 0.1 and begun(room):
                victim = chance.randrange(len(processes))
                processes[victim].kill()
                processes[victim].wait()
                seed = asked.seed + len(processes) + kills
                processes[victim] = start(folder, asked.steps, seed)
                kills -= 1
            time.sleep(0.01)
        codes = [process.returncode for process in processes]
        last = work(folder, 1, asked.seed, largest=True)
        most = max(most, taken(room))
        left = [*room.loading.glob("*.*-*-*"), *room.pins.glob("*.used")]
    print(f"exit codes {codes}, last {last}, {asked.kills - kills} killed")
    print(f"most {most / 1e6:.1f} MB of {LIMIT_BYTES / 1e6:.1f} MB, {len(left)} left over")
    return int(any(codes) or bool(last) or most > LIMIT_BYTES or bool(left))


def fill() -> None:
    """Puts the objects into the bucket."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    for number in range(NUM_OBJECTS):
        client.put_object(Bucket=BUCKET, Key=f"{number}.bin", Body=content(number))


def content(number: int) -> bytes:
    return bytes([number]) * ((number + 1) * UNIT_BYTES)


def start(folder: Path, steps: int, seed: int) -> "subprocess.Popen[bytes]":
    own = [sys.executable, __file__, "--work", folder, "--steps", steps, "--seed", seed]
    return subprocess.Popen(list(map(str, own)))


def begun(room: CacheRoom) -> bool:
    return any(room.pins.glob("*.used"))


def taken(room: CacheRoom) -> int:
    """Bytes of all files in the cache, while nobody gives or takes room."""
    with room.locked():
        sizes = []
        for path in room.root.rglob("*"):
            try:
                sizes.append(path.stat().st_size if path.is_file() else 0)
            except FileNotFoundError:
                continue
        return sum(sizes)


def work(folder: Path, steps: int, seed: int, *, largest: bool = False) -> int:
    """Stages objects in random order; 0 where all of them were right."""
    cache, chance = ObjectCache(folder, LIMIT_BYTES), random.Random(seed)
    assert store_of(f"s3://{BUCKET}/").supports_conditions
    for _ in range(steps):
        ahead, number = chance.randrange(NUM_OBJECTS), chance.randrange(NUM_OBJECTS)
        number = NUM_OBJECTS - 1 if largest else number
        wanted = cache.prefetch(f"s3://{BUCKET}/{ahead}.bin") if chance.random() < 0.3 else None
        with cache.staged(f"s3://{BUCKET}/{number}.bin") as path:
            if path.read_bytes() != content(number):
                print(f"{number} is wrong")
                return 1
            time.sleep(0.02)
        if wanted is not None and chance.random() < 0.7:
            cache.forget(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
