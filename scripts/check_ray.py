"""Two nodes of Ray on one machine, one of them killed in mid-run: equal bytes to a local run.

check_ray.py [--slides 48] [--keep FOLDER]

`slidenet run` over generated slides, once in one process, once by `--runner ray` on two nodes of
one core each (`ray start` twice). While the second node works on a slide, all of its processes are
killed; it is started again, must be used again, and every file must have the bytes of the local
run. Then what must be refused is tried: a cluster that is not there, one that asks for another
token, one whose workers have other source of slidenet. Takes some seven minutes on two cores. All
ports and folders are this script's own; no other Ray on the machine is touched.
"""

import argparse
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from slidenet.testing import write_synthetic_slide

RAY = str(Path(sys.executable).with_name("ray"))
SLIDENET = (sys.executable, "-m", "slidenet.cli.main")


class Cluster:
    """A head and a second node, each with one core; a context manager.

    Args:
        folder: For what Ray writes; short, since names of sockets must be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = os.environ | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self.environment.pop("RAY_ADDRESS", None)
        port, client = free_ports(2)
        self.address = f"{socket.gethostbyname(socket.gethostname())}:{port}"
        self._nodes: list[subprocess.Popen[bytes]] = []
        head = ("--head", "--port", str(port), "--include-dashboard=false")
        more = ("--ray-client-server-port", str(client), "--temp-dir", str(folder / "r"))
        self._start(21000, *head, *more)
        self._wait_for(1)

    def add_node(self, environment: dict[str, str] | None = None) -> None:
        """A second node, of another range of ports."""
        self._start(23000, "--address", self.address, environment=environment)

    def wait_for_node(self) -> None:
        """Waits until the node that was added last is a part of the cluster."""
        log, until = self._log(len(self._nodes) - 1), time.monotonic() + 120
        while b"This command will now block" not in log.read_bytes()[self._told :]:
            assert time.monotonic() < until, f"a node does not start; see {log}"
            time.sleep(0.5)
        time.sleep(3)

    def _log(self, number: int) -> Path:
        return self._folder / f"node{number}.log"

    def kill_node(self) -> None:
        """Ends all processes of the second node at once, as a machine that loses its power."""
        node = self._nodes.pop()
        for pid in family(node.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def at_work(self) -> list[str]:
        """Workers on the nodes, and the processes that read slides for them."""
        found = []
        for pid in {pid for node in self._nodes for pid in family(node.pid)}:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if "WorkerActor" in words or "slidenet.slides.isolation" in words:
                    found.append(words[:80])
        return found

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *error: object) -> None:
        while self._nodes:
            self.kill_node()

    def _start(
        self, first: int, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        ports = ("--min-worker-port", str(first), "--max-worker-port", str(first + 1500))
        with self._log(len(self._nodes)).open("ab") as log:
            self._told = log.tell()
            node = subprocess.Popen(
                [
                    *(RAY, "start", *arguments, *ports, "--num-cpus", "1", "--block"),
                    *("--object-store-memory", "100000000"),
                ],
                env=environment or self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._nodes.append(node)

    def _wait_for(self, seconds: float) -> None:
        host, _, port = self.address.partition(":")
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection((host, int(port)), timeout=1).close()
                time.sleep(5 + seconds)
                return
            time.sleep(0.5)
        raise SystemExit(f"Ray does not start; see {self._folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=48)
    parser.add_argument("--keep", type=Path, help="a folder for all that is made, and kept")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        folder.mkdir(exist_ok=True)
        slides = folder / "slides"
        slides.mkdir()
        for number in range(options.slides):
            write_synthetic_slide(slides / f"s{number:02}.tiff", 2048, 2048, 0.5, seed=number)
        clock = time.perf_counter()
        finished(("run", "--slides", slides, "--out", folder / "local"), dict(os.environ))
        print(f"local: {time.perf_counter() - clock:.0f} s")
        cluster = stack.enter_context(Cluster(folder))
        cluster.add_node()
        one_node_is_killed(cluster, slides, folder)
        two_clusters(cluster, slides, folder)
        told_to_end(cluster, slides, folder, signal.SIGTERM, 143)
        told_to_end(cluster, slides, folder, signal.SIGINT, 130)
        refused(cluster, slides, folder)
    print("all as it should be")


def one_node_is_killed(cluster: Cluster, slides: Path, folder: Path) -> None:
    """A run whose second node is killed while it works on a slide, and returns."""
    out, clock = folder / "ray", time.perf_counter()
    command = [*SLIDENET, "run", "--slides", str(slides), "--out", str(out)]
    command += ["--runner", "ray", "--address", cluster.address, "--progress", "json"]
    killed_at, lost, again, after = None, set[str](), set[str](), set[str]()
    with subprocess.Popen(command, env=cluster.environment, stderr=subprocess.PIPE) as run:
        for event in events(run):
            encoding = event["verb"] == "embed-tiles"
            busy = {w["worker"]: w["slides"] for w in event.get("workers", ())}
            if killed_at is None and encoding and len([w for w in busy.values() if w]) > 1:
                before = time.perf_counter()
                cluster.kill_node()
                killed_at, lost = time.perf_counter(), {s for of in busy.values() for s in of}
                print(f"killed a node after {before - clock:.0f} s; at work were {sorted(lost)}")
                cluster.add_node()
            elif killed_at is not None and event["event"] == "slide_begins" and encoding:
                again |= {event["slide_id"]} & lost
                after.add(event["worker"])
        status = run.wait()
    assert killed_at is not None, "never were two workers at work at once; give more --slides"
    assert status == 0, f"exit code {status}"
    print(f"by Ray: {time.perf_counter() - clock:.0f} s; begun again: {sorted(again)}")
    assert again, "no slide was begun again"
    print(f"workers that began slides after the loss: {sorted(after)}")
    assert len(after) > 1, "the node that returned came too late to be used; give more --slides"
    mine, theirs = digests_of(out), digests_of(folder / "local")
    assert mine == theirs, sorted(k for k in mine | theirs if mine.get(k) != theirs.get(k))
    assert not list(out.rglob(".*.claim")), "a claim was left behind"
    print(f"equal bytes in {len(mine)} files")


def two_clusters(cluster: Cluster, slides: Path, folder: Path) -> None:
    """Two clusters work on one output: every slide is made once, and bytes are equal."""
    out = folder / "both"
    shutil.copytree(folder / "local" / "tiles", out / "tiles")
    command = [*SLIDENET, "embed-tiles", "--slides", str(slides), "--out", str(out)]
    command += ["--runner", "ray", "--worker-cores", "1", "--progress", "none"]
    runs = [
        subprocess.Popen([*command, *more], env=environment, stdout=subprocess.PIPE, text=True)
        for more, environment in (
            (["--address", cluster.address], cluster.environment),
            ([], {k: v for k, v in cluster.environment.items() if "RAY" not in k}),
        )
    ]
    made: list[str] = []
    for run in runs:
        table = run.communicate()[0]
        assert run.returncode in (0, 75), table
        made += [line.split()[0] for line in table.splitlines() if line.split()[1:2] == ["done"]]
        print(f"  exit code {run.returncode}: {table.splitlines()[-1]}")
    assert sorted(made) == sorted(path.stem for path in slides.iterdir()), "made twice, or never"
    mine, theirs = digests_of(out), digests_of(folder / "local")
    assert mine.items() <= theirs.items()
    print(f"two clusters on one output: equal bytes in {len(mine)} files, each slide made once")


def told_to_end(
    cluster: Cluster, slides: Path, folder: Path, number: signal.Signals, code: int
) -> None:
    """A run that is told to end gives its claims back, and leaves no process on the nodes."""
    out = folder / f"ended{int(number)}"
    shutil.copytree(folder / "local" / "tiles", out / "tiles")
    command = [*SLIDENET, "embed-tiles", "--slides", str(slides), "--out", str(out)]
    command += ["--runner", "ray", "--address", cluster.address, "--progress", "json"]
    with subprocess.Popen(command, env=cluster.environment, stderr=subprocess.PIPE) as run:
        for event in events(run):
            if event["event"] == "slide_begins":
                assert cluster.at_work(), "this script knows no worker when it sees one"
                clock = time.perf_counter()
                run.send_signal(number)
                break
        for _ in events(run):
            pass
        status = run.wait()
    seconds = time.perf_counter() - clock
    time.sleep(3)
    left = cluster.at_work()
    print(f"{number.name}: exit code {status} after {seconds:.0f} s; left on the nodes: {left}")
    assert status == code, status
    assert not left
    assert not list(out.rglob(".*.claim")), "a claim was left behind"


def refused(cluster: Cluster, slides: Path, folder: Path) -> None:
    """What must end with one clear line."""
    port = free_ports(1)[0]
    call = ("preprocess", "--slides", slides, "--out", folder / "refused", "--runner", "ray")
    expect(call, ("--address", f"127.0.0.1:{port}"), cluster.environment, "nobody answers at")
    expect(call, ("--address", "somewhere"), cluster.environment, "HOST:PORT")
    other = cluster.environment | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    expect(call, ("--address", cluster.address), other, "token")
    cluster.kill_node()
    copy = folder / "other_source"
    shutil.copytree(Path(__file__).parents[1] / "slidenet", copy / "slidenet")
    with (copy / "slidenet" / "core" / "text.py").open("a") as file:
        file.write("\n# another state of the source\n")
    cluster.add_node(cluster.environment | {"PYTHONPATH": str(copy)})
    cluster.wait_for_node()
    expect(call, ("--address", cluster.address), cluster.environment, "slidenet 0.1.0")


def expect(
    call: tuple[object, ...], more: tuple[str, ...], environment: dict[str, str], words: str
) -> None:
    """Proves that a call ends with exit code 2 and one line that has some words."""
    command = [*SLIDENET, *map(str, call), *more, "--progress", "none"]
    # Ray lets workers find what lies in the folder of the command: not its slidenet, here.
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    found = subprocess.run(
        command, env=environment, cwd="/tmp", capture_output=True, text=True, timeout=200
    )
    lines = [line for line in found.stderr.splitlines() if "error:" in line]
    print(f"  {lines[-1] if lines else found.stderr[-400:]}")
    assert found.returncode == 2, found.returncode
    assert words in lines[-1], words


def finished(call: tuple[object, ...], environment: dict[str, str]) -> None:
    """Runs slidenet to its end."""
    command = [*SLIDENET, *map(str, call), "--progress", "none"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def events(run: "subprocess.Popen[bytes]") -> Iterator[dict]:
    """The lines of JSON of a run; others are shown."""
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith(b"{"):
            yield json.loads(line)
        else:
            sys.stderr.write(line.decode(errors="replace"))


def digests_of(out: Path) -> dict[str, str]:
    """SHA-256 of every h5 file of an output folder."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.h5"))
        if not path.name.startswith(".")
    }


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in found]


if __name__ == "__main__":
    main()
