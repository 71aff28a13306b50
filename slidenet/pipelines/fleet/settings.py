"""Which slides a call takes, by how many processes, and how it tells how far it is."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.core.records import SlideRow
from slidenet.pipelines.fleet.shards import parse_shard
from slidenet.pipelines.progress.display import Display, Mode, display_of


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """Which slides this call takes, and how it tells how far it is.

    Args:
        shard: Take the slides of one shard only: 2/8 is the second of eight (by a hash of
            slide_id); auto: the number of this job in an array of SLURM or AWS Batch; auto/N:
            also in an indexed job of N pods of Kubernetes.
        progress: How it tells on stderr how far it is: bar (lines drawn again and again), log (a
            line a minute), json (a line of JSON for all that happens, for other programs), none;
            auto: bar in a terminal, else log.
    """

    shard: str | None = None
    progress: Mode = "auto"

    def share(self, rows: Sequence[SlideRow]) -> Sequence[SlideRow]:
        """The slides that this call takes.

        Raises:
            ConfigError: No such shard.
        """
        return rows if self.shard is None else parse_shard(self.shard, os.environ).share(rows)

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
