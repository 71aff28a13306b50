"""What is asked of the plan of a cohort."""

from dataclasses import dataclass
from pathlib import Path

from slidenet.core.checks import check_not_negative, check_positive, check_whole
from slidenet.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PlanningSettings:
    """The plan of a cohort: what is measured here, and on which machines it will run.

    Args:
        machines: Machines that share the cohort, each like this one but for what is said of them.
        gpus: GPUs of each machine by their kind, such as h200 or 4xh200; a kind whose rate with
            this encoder is not in docs/performance.md needs tiles_per_second. Default: the device
            of this machine.
        tiles_per_second: Tiles that one GPU (without gpus: one machine) encodes per second, instead
            of what is measured here; the encoder is not loaded then.
        cores: Cores of each machine; default: those of this one.
        price: Of one machine for an hour, in any currency.
        shards: Give each machine its shard (--shard) instead of one list that all take slides from.
        read_mb: Megabytes per second that one machine reads from where the slides lie; default:
            measured here.
        storage_mb: Megabytes per second that the place of the slides gives to all machines
            together; default: to each as much as to one.
        write_mb: Megabytes per second that one machine writes to where results go; default:
            measured at --out.
        probe_seconds: Seconds in which rates are measured here, about; 0: nothing is measured.
        sample: Slides on which tissue is looked for; the others are estimated from them.
        all_headers: Open every slide's header, also of more than 2,000 slides.
        sample_seed: Decides which slides are drawn.
        json: File that the plan is written to, for machines.
    """

    machines: int = 1
    gpus: str | None = None
    tiles_per_second: float | None = None
    cores: int | None = None
    price: float | None = None
    shards: bool = False
    read_mb: float | None = None
    storage_mb: float | None = None
    write_mb: float | None = None
    probe_seconds: float = 30.0
    sample: int = 12
    all_headers: bool = False
    sample_seed: int = 0
    json: Path | None = None

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: A number is out of range.
        """
        check_whole(machines=self.machines, sample=self.sample)
        check_whole(or_none=True, cores=self.cores)
        check_not_negative(probe_seconds=self.probe_seconds)
        for name in ("tiles_per_second", "price", "read_mb", "storage_mb", "write_mb"):
            given: object = getattr(self, name)
            if given is not None:
                check_positive(error=ConfigError, **{name: given})
