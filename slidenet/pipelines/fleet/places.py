"""The places of a machine that a process each works at: a GPU, or a group of cores."""

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.core.errors import ConfigError
from slidenet.core.text import count_of

LISTS = "a number of processes, or a list such as cuda:0,cuda:1 or cpu:0-3,cpu:4-7"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process works.

    Attributes:
        name: `cuda:1`, `cpu:0-3`; tells processes apart.
        cores: Those the process, its threads and its reading process may use.
        gpu: What `CUDA_VISIBLE_DEVICES` is for it; None where it uses no GPU.
    """

    name: str
    cores: tuple[int, ...]
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        """The variables of a process that works here."""
        found = dict(os.environ)
        asked = found.get("OMP_NUM_THREADS", "")
        most = int(asked) if asked.isdecimal() and int(asked) else len(self.cores)
        found["OMP_NUM_THREADS"] = str(min(most, len(self.cores)))
        if self.gpu is not None:
            found["CUDA_VISIBLE_DEVICES"] = self.gpu
        return found


def find_places(devices: int | str, device: str) -> list[Place]:
    """The places meant.

    Args:
        devices: How many, or a list; GPUs are numbered as this process sees them, and one that is
            listed twice gets two processes.
        device: Where the models of the work lie in this process: cpu, cuda, cuda:0.

    Raises:
        ConfigError: It is no such list, names what is not there, or no process can be given cores
            of its own on this system.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError(
            f"--devices {devices}, and this system ({os.name}) gives no process cores of its own",
            expected="Linux",
            remedy="start the command several times with the same --out: what is done once is not "
            "done again",
        )
    if device not in ("cpu", "cuda", "cuda:0"):
        raise ConfigError(
            f"--devices {devices} with --device {device}",
            expected="the device auto, cpu or cuda: which GPUs are used is said by --devices",
        )
    cores = sorted(os.sched_getaffinity(0))
    if isinstance(devices, int) or devices.isdecimal():
        return _counted(int(devices), device, cores)
    names = [name.strip() for name in devices.split(",")]
    if all(re.fullmatch(r"cuda:\d{1,4}", name) for name in names):
        return _on_gpus([int(name[5:]) for name in names], device, cores)
    if all(re.fullmatch(r"cpu:\d{1,5}(-\d{1,5})?", name) for name in names):
        return _on_cores(names, cores)
    raise ConfigError(f"--devices {devices}", expected=LISTS)


def _counted(count: int, device: str, cores: Sequence[int]) -> list[Place]:
    if count < 1:
        raise ConfigError(f"--devices {count}", expected="at least one process")
    if device != "cpu":
        return _on_gpus(list(range(count)), device, cores)
    if count > len(cores):
        raise ConfigError(
            f"--devices {count} on {count_of('core', len(cores))}",
            expected="a core for each process at least",
        )
    return [Place(f"cpu:{_span(group)}", group) for group in _groups(cores, count)]


def _on_gpus(numbers: Sequence[int], device: str, cores: Sequence[int]) -> list[Place]:
    names = [f"cuda:{number}" for number in numbers]
    if device == "cpu":  # a step that computes nothing on a GPU, of a command that does
        return [
            Place(name, group)
            for name, group in zip(_told_apart(names), _groups(cores, len(names)), strict=True)
        ]
    import torch

    visible = torch.cuda.device_count()
    if max(numbers) >= visible:
        raise ConfigError(
            f"--devices {','.join(names)} on a machine that shows {count_of('GPU', visible)}",
            expected="GPUs that are there",
            remedy=f"give --devices {visible}; or name a GPU twice (cuda:0,cuda:0) to let two "
            "processes share it; or give --device cpu",
        )
    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    gpus = [listed[number] if listed else str(number) for number in numbers]
    groups = _groups(cores, len(names))
    return [Place(*of) for of in zip(_told_apart(names), groups, gpus, strict=True)]


def _on_cores(names: Sequence[str], cores: Sequence[int]) -> list[Place]:
    places, taken = list[Place](), set[int]()
    for name in names:
        first, _, last = name[4:].partition("-")
        group = set(range(int(first), int(last or first) + 1))
        if not group or not group <= set(cores) or group & taken:
            raise ConfigError(
                f"--devices {','.join(names)}: {name} is not free",
                expected=f"groups of the cores {_span(cores)}, none of them in two groups",
            )
        taken |= group
        places.append(Place(name, tuple(sorted(group))))
    return places


def _told_apart(names: Sequence[str]) -> list[str]:
    """`cuda:0`, then `cuda:0 (2)`."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _groups(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Neighbouring cores for each process; where they are too few, processes share one."""
    if count > len(cores):
        return [(cores[number % len(cores)],) for number in range(count)]
    edges = [len(cores) * number // count for number in range(count + 1)]
    return [tuple(cores[a:b]) for a, b in itertools.pairwise(edges)]


def _span(cores: Sequence[int]) -> str:
    """`0-3`, `5`, `0,2,4`."""
    if len(cores) > 1 and cores[-1] - cores[0] == len(cores) - 1:
        return f"{cores[0]}-{cores[-1]}"
    return ",".join(map(str, cores))
