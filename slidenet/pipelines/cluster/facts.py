"""What a machine says of itself, so that only machines that compute the same work together."""

import functools
import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import slidenet
from slidenet.core.provenance import software_version
from slidenet.stores.owners import host_name, place_digest
from slidenet.weights.device import processor_name

LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "simplejpeg",
    "imagecodecs",
    "openslide-python",
    "openslide-bin",
    "pillow",
    "shapely",
    "h5py",
    "openvino",
)
"""What decodes tiles and computes features: other versions may give other bytes."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a machine says of itself.

    Attributes:
        host: Its name.
        place: Tells its set of processes from every other (`stores.owners`).
        cores: Those a process may use that the cluster starts there.
        python: Version of Python.
        ray: Version of Ray.
        slidenet: Version of slidenet, with a digest of its source.
        libraries: Versions of `LIBRARIES`.
        processor: Kind of CPU.
    """

    host: str
    place: str
    cores: tuple[int, ...]
    python: str
    ray: str
    slidenet: str
    libraries: Mapping[str, str]
    processor: str

    @classmethod
    def here(cls) -> "MachineFacts":
        """Those of this machine."""
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
        return cls(
            host_name(),
            place_digest(),
            tuple(sorted(cores)),
            platform.python_version(),
            software_version("ray"),
            f"{software_version()} ({source_digest()})",
            {name: software_version(name) for name in LIBRARIES},
            processor_name(),
        )

    def forbids(self, node: "MachineFacts") -> list[str]:
        """Why `node` cannot work for this machine, one clause per fact; empty where it can."""
        return [
            f"{name} {theirs} there, {ours} here"
            for name, ours, theirs in (
                ("Python", _minor(self.python), _minor(node.python)),
                ("Ray", self.ray, node.ray),
                ("slidenet", self.slidenet, node.slidenet),
            )
            if ours != theirs
        ]

    def doubts(self, node: "MachineFacts") -> list[str]:
        """What may make the last bits of features differ, one clause per fact."""
        found = [
            f"{name} {node.libraries.get(name)} instead of {version}"
            for name, version in self.libraries.items()
            # A build for GPUs and one for CPUs are the same version.
            if version.partition("+")[0] != node.libraries.get(name, "").partition("+")[0]
        ]
        if self.processor != node.processor:
            found.append(f"{node.processor} instead of {self.processor}")
        return found


def _minor(version: str) -> str:
    """`3.11` of `3.11.7`: what pickles and compiled libraries must agree in."""
    return ".".join(version.split(".")[:2])


@functools.cache
def source_digest() -> str:
    """Eight digits of all source of slidenet: between releases the version alone says little."""
    root = Path(slidenet.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
