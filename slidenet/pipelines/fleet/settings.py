"""Which slides a call takes, with how many processes, and how it tells how far it is."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.runner import LocalRunner, Runner, SlideWork
from slidenet.pipelines.fleet.places import find_places
from slidenet.pipelines.fleet.runner import DevicesRunner
from slidenet.pipelines.fleet.shards import parse_shard
from slidenet.pipelines.progress.display import Display, Mode, display_of


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
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
    """

    shard: str | None = None
    devices: int | str | None = None
    progress: Mode = "auto"

    def share(self, rows: Sequence[SlideRow]) -> Sequence[SlideRow]:
        """The slides that this call takes.

        Raises:
            ConfigError: No such shard.
        """
        return rows if self.shard is None else parse_shard(self.shard, os.environ).share(rows)

    @contextmanager
    def runner(self, work: SlideWork, given: Runner) -> Iterator[Runner]:
        """Who does the work: processes at the devices, where there are any, for the block.

        Args:
            work: The work.
            given: Who does it otherwise.

        Raises:
            ConfigError: There are no such devices, or both devices and another runner.
        """
        if self.devices is None:
            yield given
            return
        if not isinstance(given, LocalRunner):
            raise ConfigError(
                f"devices={self.devices} and a runner of the class {type(given).__name__}",
                expected="one of them",
            )
        with DevicesRunner(find_places(self.devices, work.device), work) as runner:
            yield runner

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


WHOLE = FleetSettings()
"""All slides."""
