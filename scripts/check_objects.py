"""Writes outputs into a bucket through a network that is cut, and compares with local files.

check_objects.py [--slides 6] [--kills 6] [--seed 0] [--only CASE]

An S3 server (moto) runs in this process, behind a proxy of our own that cuts connections, loses
answers, takes rights away and forgets conditions. Each case ends with the question whether the
bucket holds the very bytes of an undisturbed run into a folder, and nothing else.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import check_many_jobs

from slidenet.testing.s3_server import become_user, s3_server

sys.path.insert(0, str(check_many_jobs.HERE / "faults"))
from cutting_proxy import CuttingProxy, Fate, Request

FORBIDDEN = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: 105\r\n\r\n"
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>no</Message>'
    b"</Error>      "
)
OUT = "out"


@dataclass
class Place:
    """Where the cases happen.

    Attributes:
        folder: For all files.
        proxy: In front of the server.
        client: Of the server itself.
        num_slides: Slides.
        chance: Seeded.
        kills: How often to kill.
    """

    folder: Path
    proxy: CuttingProxy
    client: Any
    num_slides: int
    chance: random.Random
    kills: int
    bucket: str = ""

    def start(
        self, cache: str = "cache", out: str = "", slides: str = "", more: Sequence[str] = ()
    ) -> "subprocess.Popen[str]":
        """A `slidenet run` whose output is the bucket, unless another one is named."""
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": self.proxy.url,
            "XDG_CACHE_HOME": str(self.folder / self.bucket / cache),
        }
        slides = slides or str(self.folder / "slides" / "slides.csv")
        out = out or f"s3://{self.bucket}/{OUT}"
        flags = ("--no-isolate", *check_many_jobs.FLAGS, *more)
        command = ("run", "--slides", slides, "--out", out, *flags)
        return subprocess.Popen(
            [sys.executable, "-m", "slidenet.cli.main", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self, cache: str = "cache", out: str = "", slides: str = "", more: Sequence[str] = ()
    ) -> tuple[int, str]:
        """Its exit code and all it said."""
        process = self.start(cache, out, slides, more)
        said, _ = process.communicate(timeout=600)
        return process.returncode, said

    def keys(self) -> list[str]:
        """Names of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def faults(self, local: str = "local") -> list[str]:
        """What is missing in the bucket, different or left over; compared with a folder."""
        wanted = check_many_jobs.digests(self.folder / local)
        found = {
            key.removeprefix(f"{OUT}/"): hashlib.sha256(
                self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            ).hexdigest()
            for key in self.keys()
            if key.startswith(f"{OUT}/")
        }
        hidden = [name for name in found if name.startswith(".")]
        found = {
            name: digest
            for name, digest in found.items()
            if name != "run.json" and not name.startswith(("runs/", "."))
        }
        faults = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
        faults += [f"{name} should not be there" for name in sorted(found.keys() - wanted.keys())]
        faults += [f"{name} was left over" for name in hidden]
        both = sorted(wanted.keys() & found.keys())
        return faults + [f"{name} differs" for name in both if wanted[name] != found[name]]


def cuts(place: Place) -> list[str]:
    """Two uploads are cut, two answers are lost, and a listing and a download are cut."""
    left = {"upload": 2, "answer": 2, "get": 2}

    def rule(request: Request) -> Fate | None:
        h5 = request.is_upload and ".h5" in request.path
        if h5 and request.number % 3 == 0 and left["upload"]:
            left["upload"] -= 1
            return Fate(sent=0.5)
        if h5 and request.number % 3 == 1 and left["answer"]:
            left["answer"] -= 1
            return Fate(answered=0)
        if request.method == "GET" and request.number % 2 and left["get"]:
            left["get"] -= 1
            return Fate(answered=60)
        return None

    place.proxy.rules[:] = [rule]
    code, said = place.run()
    place.proxy.rules.clear()
    again, _ = place.run("elsewhere")  # which fetches all of it
    faults = [f"exit code {code}: {said[-800:]}"] if code else []
    faults += [f"exit code of a second run elsewhere {again}"] if again else []
    faults += [f"the proxy still had cuts to make: {left}"] if any(left.values()) else []
    return faults + place.faults()


def another_writer(place: Place) -> list[str]:
    """Somebody else writes a result first: the same bytes are well, others are a failure."""
    same, other = f"{OUT}/tiles/s000.h5", f"{OUT}/tiles/s001.h5"
    content = {same: (place.folder / "local" / "tiles" / "s000.h5").read_bytes(), other: b"other"}

    def rule(request: Request) -> Fate | None:
        for key in list(content):
            if request.method == "PUT" and request.path.split("?")[0].endswith(f"/{key}"):
                place.client.put_object(Bucket=place.bucket, Key=key, Body=content.pop(key))
        return None

    place.proxy.rules[:] = [rule]
    code, said = place.run()
    place.proxy.rules.clear()
    told = [line for line in said.splitlines() if "written by another writer" in line]
    faults = [] if code == 1 else [f"exit code {code}, expected 1: {said[-800:]}"]
    if not (told and "s001" in told[0] and "sha256" in told[0]):
        faults.append(f"another writer is not told in one line: {told or said[-800:]}")
    if any("s000" in line for line in told):
        faults.append("equal bytes of another writer are told as a failure")
    place.client.delete_object(Bucket=place.bucket, Key=other)
    code, said = place.run()
    return faults + ([f"exit code {code}: {said[-800:]}"] if code else []) + place.faults()


def kills(place: Place) -> list[str]:
    """Killed at any request, in the old folder or without it; then run to the end."""
    faults, done = [], 0
    for number in range(place.kills):
        moment = len(place.proxy.seen) + place.chance.randrange(5, 30 * place.num_slides)
        process = place.start("cache" if number % 2 else f"cache{number}")

        def rule(
            request: Request,
            moment: int = moment,
            process: "subprocess.Popen[str]" = process,
        ) -> Fate | None:
            if request.number >= moment and process.poll() is None:
                process.send_signal(signal.SIGKILL)
            return None

        place.proxy.rules[:] = [rule]
        process.communicate(timeout=600)
        place.proxy.rules.clear()
        done += process.returncode == -signal.SIGKILL
        if process.returncode not in (0, -signal.SIGKILL):
            faults.append(f"exit code {process.returncode}")
    code, said = place.run()
    print(f"  killed {done} times; then exit code {code}")
    if not done:
        faults.append("nothing was killed: too little work")
    return faults + ([f"exit code {code}: {said[-800:]}"] if code else []) + place.faults()


def two_clusters(place: Place) -> list[str]:
    """Two processes that share nothing but the bucket drain one list."""
    before = len(place.proxy.seen)
    both = [place.start("one"), place.start("two")]
    said = [process.communicate(timeout=600)[0] for process in both]
    codes = [process.returncode for process in both]
    puts = Counter(
        request.path.split("?")[0]
        for request in place.proxy.seen[before:]
        if request.is_upload and request.path.split("?")[0].endswith(".h5")
    )
    print(f"  exit codes {codes}; {len(puts)} h5 files put {sum(puts.values())} times")
    faults = [f"exit codes {codes}: {said[0][-500:]}"] if set(codes) - {0, 75} else []
    twice = [name for name, count in puts.items() if count > 1]
    faults += [f"put more than once: {twice}"] if twice else []
    if 75 in codes:
        place.run("one")
    return faults + place.faults()


def no_conditions(place: Place) -> list[str]:
    """A store that knows no conditional writes takes one writer at a time."""

    def rule(request: Request) -> Fate | None:
        return Fate(head=request.without("If-None-Match", "If-Match"))

    place.proxy.rules[:] = [rule]
    first = place.start("one")
    lease = f"{OUT}/.slidenet/lease.json"
    while lease not in set(place.keys()) and first.poll() is None:
        time.sleep(0.1)
    first.send_signal(signal.SIGSTOP)  # so that it is there when the second one looks
    second, said = place.start("two"), ""
    told = []
    for line in second.stderr or second.stdout:
        told.append(line)
        if "waiting to see whether it is alive" in line:
            first.send_signal(signal.SIGCONT)
    second.wait()
    said = "".join(told)
    first.send_signal(signal.SIGCONT)
    rest, _ = first.communicate(timeout=600)
    faults = [f"exit code {first.returncode}: {rest[-800:]}"] if first.returncode else []
    refused = second.returncode == 75 and "is working on" in said
    done_after = second.returncode == 0 and "already done" in said
    if not (refused or done_after):
        faults.append(f"the second writer ended with {second.returncode}: {said[-800:]}")
    print(f"  the second writer ended with {second.returncode}")
    place.proxy.rules.clear()
    return faults + place.faults()


def both_ends(place: Place) -> list[str]:
    """Slides and results in buckets: two downloads are cut, and a slide is replaced meanwhile."""
    slides = place.folder / "slides"
    for path in slides.iterdir():
        place.client.upload_file(str(path), place.bucket, f"slides/{path.name}")
    largest = max(path.stat().st_size for path in slides.iterdir())
    uri, limit = f"s3://{place.bucket}/slides/slides.csv", 3 * largest
    replaced, cut = f"/{place.bucket}/slides/s000.tiff", {"s000.tiff": 1, "s001.tiff": 2}

    def rule(request: Request) -> Fate | None:
        name = request.path.split("?")[0].rpartition("/")[2]
        if request.method != "GET" or not cut.get(name):
            return None
        cut[name] -= 1
        if request.path.startswith(replaced):  # the same bytes, and another version
            put_in_parts(place.client, place.bucket, replaced.split("/", 2)[2], slides / name)
        return Fate(answered=4_000)

    cache = place.folder / place.bucket / "limited"
    more = ("--cache", str(cache), "--cache-limit", str(limit))
    place.proxy.rules[:] = [rule]
    process, most, said = place.start(slides=uri, more=more), 0, list[str]()
    reading = threading.Thread(target=lambda: said.extend(process.stdout or ()))
    reading.start()
    while process.poll() is None:
        most = max(most, bytes_in(cache / "slidenet-objects"))
        time.sleep(0.02)
    reading.join()
    place.proxy.rules.clear()
    told = [line for line in said if "was replaced while it was read" in line]
    faults = [] if process.returncode == 1 else [f"exit code {process.returncode}, expected 1"]
    faults += [] if told and "s000" in told[0] else [f"not told: {''.join(said)[-800:]}"]
    faults += [f"downloads that were to be cut: {cut}"] if any(cut.values()) else []
    faults += [f"the cache had {most:,} bytes, {limit:,} allowed"] if most > limit else []
    print(f"  the cache of slides had at most {most:,} of {limit:,} bytes")
    code, words = place.run(slides=uri, more=more)
    faults += [f"exit code {code}: {words[-800:]}"] if code else []
    undisturbed = str(place.folder / "from-bucket")
    code, words = place.run("other", out=undisturbed, slides=uri)
    faults += [f"exit code {code}: {words[-800:]}"] if code else []
    here, there = (check_many_jobs.digests(place.folder / n) for n in ("local", "from-bucket"))
    other = [n for n in here if here[n] != there.get(n) and not n.startswith("tiles/")]
    faults += [f"{name} differs between slides here and in a bucket" for name in other]
    return faults + place.faults("from-bucket")


def put_in_parts(client: Any, bucket: str, key: str, path: Path) -> None:
    """The same content with another etag."""
    begun = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    of_part: dict[str, Any] = {"Bucket": bucket, "Key": key, "UploadId": begun}
    etag = client.upload_part(**of_part, PartNumber=1, Body=path.read_bytes())["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    client.complete_multipart_upload(**of_part, MultipartUpload=parts)


def bytes_in(folder: Path) -> int:
    """Bytes of all files, of which some may go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def no_rights(place: Place) -> list[str]:
    """A bucket that may be read but not written is told before the first slide."""

    def rule(request: Request) -> Fate | None:
        return Fate(instead=FORBIDDEN) if request.method == "PUT" else None

    place.proxy.rules[:] = [rule]
    code, said = place.run()
    place.proxy.rules.clear()
    lines = [line for line in said.splitlines() if "error" in line]
    faults = [] if code in (1, 2) else [f"exit code {code}"]
    if len(lines) != 1 or place.bucket not in lines[0] or "denied" not in lines[0]:
        faults.append(f"not told in one line: {said[-800:]}")
    if any((place.folder / place.bucket).rglob("*.h5")):
        faults.append("a slide was worked on for a bucket that takes nothing")
    return faults


CASES: tuple[Callable[[Place], list[str]], ...] = (
    cuts,
    another_writer,
    kills,
    two_clusters,
    no_conditions,
    no_rights,
    both_ends,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[case.__name__ for case in CASES])
    options = parser.parse_args()
    import boto3

    places = [str(check_many_jobs.HERE / "faults"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    failed = 0
    with s3_server() as address, tempfile.TemporaryDirectory() as name:
        become_user(address)
        client, server = boto3.client("s3"), urlsplit(address)
        folder, proxy = Path(name), CuttingProxy((server.hostname, server.port))
        check_many_jobs.write_slides(folder / "slides", options.slides)
        chance = random.Random(options.seed)
        place = Place(folder, proxy, client, options.slides, chance, options.kills)
        code, said = place.run(out=str(folder / "local"))
        if code:
            print(said)
            return 1
        for case in CASES:
            if options.only not in (None, case.__name__):
                continue
            place.bucket = case.__name__.replace("_", "-")
            client.create_bucket(Bucket=place.bucket)
            clock = time.monotonic()
            faults = case(place)
            verdict = "FAULT" if faults else "well"
            seconds = time.monotonic() - clock
            print(f"{case.__name__}: {verdict}, {seconds:.0f} s", *faults, sep="\n  ", flush=True)
            failed += bool(faults)
        proxy.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
