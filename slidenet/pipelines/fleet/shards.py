"""Shards: the slides of a cohort that one of several jobs takes, by hash of their `slide_id`.

A hash needs no list that all jobs agree on, and a slide stays in its shard when others are added.
Jobs that drain one list through claims are quicker to the end; shards suit machines that share no
folder, and keep each job's list short.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of a cohort.

    Attributes:
        index: Which one, counted from 1.
        count: How many there are.
        source: What said so, for people.
    """

    index: int
    count: int
    source: str = "--shard"

    def holds(self, slide_id: str) -> bool:
        """Whether a slide belongs to it; every slide belongs to exactly one of `count` shards."""
        return shard_of(slide_id, self.count) == self.index - 1

    def share(self, rows: Sequence[SlideRow]) -> list[SlideRow]:
        """The slides of this shard, in their order."""
        return [row for row in rows if self.holds(row.slide_id)]

    def describe(self, rows: Sequence[SlideRow]) -> str:
        """One line for the report."""
        mine = count_of("slide", len(self.share(rows)))
        return f"shard {self.index}/{self.count} ({self.source}): {mine} of {len(rows)}"


def shard_of(slide_id: str, count: int) -> int:
    """The number of the shard that a slide belongs to, of so many, counted from 0."""
    digest = hashlib.sha256(slide_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % count


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """The shard meant.

    Args:
        text: "2/8", counted from 1; "auto": as a scheduler numbers this job; "auto/8": the number
            of this job from the scheduler, and how many there are from here.
        environment: Variables of this process.

    Raises:
        ConfigError: It is none of these, out of range, or no scheduler numbers this job.
    """
    numbers = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if numbers:
        shard = Shard(int(numbers[1]), int(numbers[2]))
    elif text == AUTO or (numbers := re.fullmatch(rf"{AUTO}/(\d{{1,9}})", text)):
        shard = _of_scheduler(environment, int(numbers[1]) if numbers else None)
    else:
        raise ConfigError(
            f"--shard {text}",
            expected="I/N (2/8 is the second of eight), auto, or auto/N",
            remedy="give the same N to all jobs, and to each another I from 1 to N",
        )
    if not 1 <= shard.index <= shard.count:
        raise ConfigError(
            f"shard {shard.index} of {shard.count} ({shard.source})",
            expected="shards counted from 1 to their number",
            remedy="number the jobs without gaps, and start as many as there are shards",
        )
    return shard


def _of_scheduler(environment: Mapping[str, str], count: int | None) -> Shard:
    for name, of_scheduler in _SCHEDULERS.items():
        if environment.get(name, "") != "":
            return of_scheduler(environment, count)
    raise ConfigError(
        "--shard auto, and no scheduler numbers this job",
        expected=f"one of the variables {', '.join(_SCHEDULERS)}",
        remedy="start it as an array job, or give --shard I/N",
    )


def _of_slurm(environment: Mapping[str, str], count: int | None) -> Shard:
    """Task ids may begin anywhere and be some steps apart, but not have gaps."""
    task = _number(environment, "SLURM_ARRAY_TASK_ID")
    first = _number(environment, "SLURM_ARRAY_TASK_MIN")
    last, tasks = (_number(environment, f"SLURM_ARRAY_TASK_{x}") for x in ("MAX", "COUNT"))
    _check_number(tasks, count)
    step, rest = divmod(last - first, tasks - 1) if tasks > 1 else (1, last - first)
    place, off = divmod(task - first, step) if step else (0, 1)
    if rest or off:
        raise ConfigError(
            f"an array of {tasks} tasks from {first} to {last}, with gaps",
            expected="--array=0-7 or another row of numbers that are equally far apart",
            remedy="give --shard I/N with numbers of your own; a job that failed is repeated by "
            "starting the whole array again, as slides that are done are skipped",
        )
    return Shard(place + 1, tasks, "SLURM_ARRAY_TASK_ID")


def _of_aws(environment: Mapping[str, str], count: int | None) -> Shard:
    index = _number(environment, "AWS_BATCH_JOB_ARRAY_INDEX")
    size = _number(environment, "AWS_BATCH_JOB_ARRAY_SIZE")
    _check_number(size, count)
    return Shard(index + 1, size, "AWS_BATCH_JOB_ARRAY_INDEX")


def _of_kubernetes(environment: Mapping[str, str], count: int | None) -> Shard:
    """An indexed job; it does not tell its pods how many they are."""
    index = _number(environment, "JOB_COMPLETION_INDEX")
    if count is None:
        raise ConfigError(
            f"--shard auto for pod {index} of an indexed job",
            expected="how many pods there are, which Kubernetes does not tell them",
            remedy="give --shard auto/N, N being `completions` of the job",
        )
    return Shard(index + 1, count, "JOB_COMPLETION_INDEX")


def _check_number(tasks: int, count: int | None) -> None:
    """Refuses a part of an array: its tasks would take the first shards, and nobody the others."""
    if count not in (None, tasks):
        raise ConfigError(
            f"--shard auto/{count} in an array of {count_of('task', tasks)}",
            expected="as many tasks as shards",
            remedy="give --shard auto and start the whole array, as slides that are done are "
            "skipped; or give --shard I/N",
        )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigError(
            f"the variable {name} is {text!r}",
            expected="a whole number, as the scheduler sets it",
            remedy="give --shard I/N",
        )
    return int(text)


_SCHEDULERS: dict[str, Callable[[Mapping[str, str], int | None], Shard]] = {
    "SLURM_ARRAY_TASK_ID": _of_slurm,
    "AWS_BATCH_JOB_ARRAY_INDEX": _of_aws,
    "JOB_COMPLETION_INDEX": _of_kubernetes,
}
