"""A SLURM of two nodes on this machine, where SLURM is installed."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PROGRAMS = ("munged", "sbatch", "scancel", "scontrol", "sinfo", "slurmctld", "slurmd", "srun")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
NODES = ("127.0.0.1", "127.0.0.2")
"""Names, of which Lightning takes the first one for an address."""


class NoSlurmError(Exception):
    """SLURM is not installed, or its daemons do not run here."""


class Slurm:
    """Runs jobs.

    Attributes:
        environment: What its commands need.
    """

    def __init__(self, configuration):
        self.environment = {"SLURM_CONF": str(configuration)}

    def ask(self, *command, **more):
        """What a command of SLURM prints."""
        environment = os.environ | more.pop("env", {}) | self.environment
        found = shutil.which(command[0], path=PATH)
        done = subprocess.run(
            [found, *command[1:]], env=environment, capture_output=True, text=True, **more
        )
        if done.returncode:
            raise NoSlurmError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def run(self, script, *, env, seconds=60):
        """How a job ended, as `COMPLETED 0:0`; of one that does not end, all that SLURM knows.

        It runs in the folder of its script.
        """
        said = self.ask("sbatch", str(script), env=env, cwd=script.parent)
        number, until = re.search(r"\d+", said)[0], time.monotonic() + seconds
        while time.monotonic() < until:
            job = self.ask("scontrol", "--oneliner", "show", "job", number)
            state, code = re.search(r"JobState=(\S+).* ExitCode=(\S+)", job).groups()
            if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
                break
            time.sleep(0.1)
        else:
            self.ask("scancel", "--signal=KILL", "--full", number)
            return job
        return f"{state} {code}"


@contextmanager
def two_nodes():
    """Daemons of a controller and two nodes of 8 cores and a GPU each, which need not be there.

    Raises:
        NoSlurmError: They cannot run here, with why.
    """
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if missing:
        raise NoSlurmError(f"SLURM is not installed (no {', '.join(missing)})")
    # Not below a folder of pytest: SLURM makes sockets in it, whose names have to be short.
    with TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        yield from _daemons(Path(name))


def _daemons(folder):
    configuration = folder / "slurm.conf"
    configuration.write_text(_configuration(folder))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    slurm = Slurm(configuration)
    environment = os.environ | slurm.environment
    # A key of its own, so that nobody else starts jobs here.
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    own = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *own],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", node] for node in NODES),
    ]
    with ExitStack() as stack:
        for number, (name, *flags) in enumerate(commands):
            log = stack.enter_context((folder / f"{number}-{name}.out").open("wb"))
            program = shutil.which(name, path=PATH)
            daemon = subprocess.Popen([program, *flags], env=environment, stdout=log, stderr=log)
            stack.callback(daemon.wait)
            stack.callback(daemon.kill)
            while name == "munged" and not (folder / "munge.socket").exists():
                if daemon.poll() is not None:
                    raise NoSlurmError(f"munged does not run here: {_last_words(folder)}")
                time.sleep(0.01)
        until, states = time.monotonic() + 10, ""
        while states.split() != ["idle"] * len(NODES):
            if time.monotonic() > until:
                raise NoSlurmError(f"the daemons of SLURM do not run here: {_last_words(folder)}")
            time.sleep(0.05)
            try:
                states = slurm.ask("sinfo", "--noheader", "--Node", "--format=%T")
            except NoSlurmError as error:
                states = str(error)
        yield slurm


def _configuration(folder):
    user, host = getpass.getuser(), socket.gethostname().split(".")[0]
    # Lightning reckons the port of the ranks from the number of the job.
    (port, *ports), job_port = _free_ports(3), _free_port_between(15000, 25000)
    lines = {
        "ClusterName": "tests",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": port,
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthInfo": f"socket={folder / 'munge.socket'}",
        "MpiDefault": "none",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SlurmdParameters": "config_overrides",
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=1",
        "GresTypes": "gpu",
        "FirstJobId": 10000 + job_port - 15000,
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool-%n",
        "SlurmctldPidFile": folder / "controller.pid",
        "SlurmdPidFile": folder / "%n.pid",
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    for node, port in zip(NODES, ports, strict=True):
        text += f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
        text += "CPUs=8 Gres=gpu:1\n"
    return f"{text}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"


def _free_ports(number):
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _free_port_between(first, end):
    for port in range(first + os.getpid() % 1000, end):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise NoSlurmError(f"no port is free from {first} to {end}")


def _last_words(folder):
    lines = [line for path in folder.glob("*.out") for line in path.read_text().splitlines()]
    told = [line for line in lines if re.search("(?i)error|fatal", line) and "pmix" not in line]
    return " | ".join(told)[-600:]
