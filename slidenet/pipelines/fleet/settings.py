"""Which slides a call takes, with how many processes, and how it tells how far it is."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cluster.joining import check_address
from slidenet.pipelines.cluster.runner import RayRunner
from slidenet.pipelines.cohort.runner import LocalRunner, Runner, SlideWork
from slidenet.pipelines.fleet.places import find_places
from slidenet.pipelines.fleet.runner import DevicesRunner
from slidenet.pipelines.fleet.shards import parse_shard
from slidenet.pipelines.progress.display import Display, Mode, display_of
from slidenet.stores.objects import ObjectCache, cache_of

RunnerName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """On which machines the work is done.

    Args:
        runner: Who does the work: local, this machine; ray, workers on the nodes of a Ray cluster
            (needs the extra ray).
        address: Of the Ray cluster: HOST:PORT of its head, or auto for one that runs on this
            machine. Default: a cluster of this machine alone, which ends with the command.
        worker_cores: Cores of each worker of a cluster. Default: 8, or all of a smaller node; of a
            node with GPUs, its cores divided among them.
    """

    runner: RunnerName = "local"
    address: str | None = None
    worker_cores: int | None = None

    def check(self) -> None:
        """Refuses settings that do not go together.

        Raises:
            ConfigError: They do not, or no cluster has such an address.
        """
        check_choice(get_args(RunnerName), runner=self.runner)
        check_whole(worker_cores=self.worker_cores, or_none=True)
        if self.runner == "ray":
            check_address(self.address)
            return
        for flag, value in (("address", self.address), ("worker-cores", self.worker_cores)):
            if value is not None:
                raise ConfigError(
                    f"--{flag} {value} without --runner ray",
                    expected="a cluster to be used, or none",
                    remedy=f"give --runner ray, or leave out --{flag}",
                )

    @contextmanager
    def on_cluster(self, work: SlideWork) -> Iterator[Runner]:
        """Workers on the cluster, for the block.

        Args:
            work: What they do.

        Raises:
            ConfigError: There is no such cluster, or it has no room for them.
        """
        with RayRunner(work, self.address, cores=self.worker_cores) as runner:
            yield runner


@dataclass(frozen=True, kw_only=True)
class FleetSettings(ClusterSettings):
    """Which slides this call takes, with how many processes, and how it tells how far it is.

    Args:
        shard: Take the slides of one shard only: 2/8 is the second of eight (by a hash of
            slide_id); auto: the number of this job in an array of SLURM or AWS Batch; auto/N:
            also in an indexed job of N pods of Kubernetes.
        devices: Processes on this machine that do the work together, one per GPU: their number, or
            a list (cuda:0,cuda:1; one listed twice is shared). Without a GPU, or with --device cpu,
            one per group of cores, also as a list (cpu:0-7,cpu:8-15). Default: this process alone.
        progress: How it tells on stderr how far it is: bar (lines drawn again and again), log (a
            line a minute), json (a line of JSON for all that happens, for other programs), none;
            auto: bar in a terminal, else log.
        cache: Folder for copies of slides that lie in object stores (s3://, https://, ...), and of
            an output that does, shared by the processes of a user; default: ~/.cache/slidenet.
        cache_limit: What copies of slides may take, such as 200GB: room for the largest slide,
            better for three. What was not used for longest gives way. Outputs are not counted.
    """

    shard: str | None = None
    devices: int | str | None = None
    progress: Mode = "auto"
    cache: Path | None = None
    cache_limit: str = "50GB"

    def share(self, rows: Sequence[SlideRow]) -> Sequence[SlideRow]:
        """The slides that this call takes.

        Raises:
            ConfigError: No such shard.
        """
        return rows if self.shard is None else parse_shard(self.shard, os.environ).share(rows)

    @contextmanager
    def workers(self, work: SlideWork, given: Runner) -> Iterator[Runner]:
        """Who does the work, for the block: processes at the devices or on a cluster, if asked for.

        Args:
            work: The work.
            given: Who does it otherwise.

        Raises:
            ConfigError: There are no such devices or no such cluster, or two of them and another
                runner are asked for.
        """
        self.check()
        if self.devices is None and self.runner == "local":
            yield given
            return
        devices = None if self.devices is None else f"devices={self.devices}"
        cluster = None if self.runner == "local" else f"runner={self.runner}"
        foreign = None if isinstance(given, LocalRunner) else type(given).__name__
        asked = [x for x in (devices, cluster, foreign and f"a runner of the class {foreign}") if x]
        if len(asked) > 1:
            raise ConfigError(" and ".join(asked), expected="one of them")
        if self.devices is None:
            with self.on_cluster(work) as there:
                yield there
        else:
            with DevicesRunner(find_places(self.devices, work.device), work) as here:
                yield here

    def in_this_process(self) -> "FleetSettings":
        """The same slides and display, for work that takes less time than sending it."""
        return replace(self, devices=None, runner="local", address=None, worker_cores=None)

    def objects(self) -> ObjectCache:
        """Where copies of slides lie that are in object stores.

        Raises:
            ConfigError: The limit is no size.
        """
        return cache_of(self.cache, self.cache_limit)

    def display(self) -> Display:
        """Who shows how far it is."""
        return display_of(self.progress)

    def notes(self, rows: Sequence[SlideRow]) -> tuple[str, ...]:
        """What a report says of the slides taken, a line each.

        Args:
            rows: All slides.
        """
        if self.shard is None:
            return ()
        return (parse_shard(self.shard, os.environ).describe(rows),)


HERE = ClusterSettings()
"""This machine."""

WHOLE = FleetSettings()
"""All slides."""
