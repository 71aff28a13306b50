"""Which slides a call takes, by how many processes, and how it tells how far it is."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.core.records import SlideRow
from slidenet.pipelines.fleet.shards import parse_shard


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """Which slides this call takes, and how it tells how far it is.

    Args:
        shard: Take the slides of one shard only: 2/8 is the second of eight (by a hash of
            slide_id); auto: the number of this job in an array of SLURM or AWS Batch; auto/N:
            also in an indexed job of N pods of Kubernetes.
    """

    shard: str | None = None

    def share(self, rows: Sequence[SlideRow]) -> Sequence[SlideRow]:
        """The slides that this call takes.

        Raises:
            ConfigError: No such shard.
        """
        return rows if self.shard is None else parse_shard(self.shard, os.environ).share(rows)

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
