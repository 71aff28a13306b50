"""`slidenet doctor`: is this machine ready, and if not, what is missing?"""

import shutil
import sys
import time
from pathlib import Path

from slidenet.core.errors import MissingExtraError, SlidenetError
from slidenet.core.plugins import list_plugins
from slidenet.core.provenance import software_version
from slidenet.pipelines.inspection.checks import Check, CheckList
from slidenet.slides.isolation import try_isolation
from slidenet.tile_encoders import check_access
from slidenet.tile_encoders.engines.silence import import_openvino

PACKAGES = (
    "slidenet", "torch", "torchvision", "timm", "openslide-python", "openslide-bin", "lightning",
    "h5py", "imagecodecs", "simplejpeg", "scikit-learn", "torchmetrics",
)  # fmt: skip
LOW_DISK_GIB = 5.0
SUPPORTED_PYTHON = ((3, 11), (3, 13))


def doctor(encoder: str = "efficientnet_lite0", out: Path = Path(".")) -> CheckList:
    """Checks versions, OpenSlide, devices, free disk, the hub token and access to an encoder.

    Args:
        encoder: The tile encoder whose weights you want to use.
        out: The folder you want to write to.
    """
    return CheckList(
        [
            _python(),
            *(_package(name) for name in PACKAGES),
            *_plugins(),
            _openslide(),
            _isolation(),
            _device(),
            _engine(),
            _disk(out),
            _hub_token(),
            _encoder_access(encoder),
            _first_model(),
        ]
    )


def _python() -> Check:
    low, high = SUPPORTED_PYTHON
    version = ".".join(map(str, sys.version_info[:3]))
    if low <= sys.version_info[:2] <= high:
        return Check("python", "ok", version)
    wanted = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
    return Check("python", "problem", version, f"slidenet is tested on {wanted}; install one")


def _package(name: str) -> Check:
    version = software_version(name)
    if version == "not installed":
        return Check(name, "problem", version, f"pip install {name}")
    return Check(name, "ok", version)


def _plugins() -> list[Check]:
    """Plug-ins of installed packages by kind, as their packages announce them; none is loaded."""
    found = [
        Check(
            f"plug-in {plugin.name}",
            "ok",
            f"{plugin.group.removeprefix('slidenet.')} of {plugin.distribution} {plugin.version} "
            f"({plugin.target})",
        )
        for plugin in list_plugins()
    ]
    return found or [Check("plug-ins", "ok", "none installed")]


def _openslide() -> Check:
    try:
        import openslide
    except (ImportError, OSError) as error:
        return Check("openslide library", "problem", str(error), "pip install openslide-bin")
    version = openslide.__library_version__
    if int(version.split(".")[0]) < 4:
        return Check(
            "openslide library",
            "warning",
            f"{version}, which reads no DICOM and no colour profiles",
            "pip install openslide-bin",
        )
    return Check("openslide library", "ok", version)


def _isolation() -> Check:
    """Whether slides can be read in a process of their own, by starting one."""
    name, started = "isolated slides", time.perf_counter()
    try:
        shared = try_isolation()
    except SlidenetError as error:
        return Check(name, "warning", error.found, error.remedy)
    found = f"a process starts in {time.perf_counter() - started:.1f} s"
    if shared:
        return Check(name, "ok", f"{found}, pixels come through shared memory")
    return Check(name, "warning", f"{found}, pixels come through a pipe", "allow memfd_create")


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("device", "ok", f"CUDA {torch.version.cuda}: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Check("device", "ok", "Apple GPU (mps)")
    return Check(
        "device",
        "warning",
        f"CPU only, {torch.get_num_threads()} threads",
        "fine for small encoders; large ones (over 100 M parameters) want a CUDA GPU",
    )


def _engine() -> Check:
    """What would run tile encoders in float32 on this CPU."""
    try:
        import_openvino()
    except MissingExtraError as error:
        return Check(
            "engine on a CPU",
            "warning",
            f"torch ({error.found})",
            f"{error.remedy}: up to twice as fast",
        )
    return Check("engine on a CPU", "ok", f"openvino {software_version('openvino')}")


def _disk(out: Path) -> Check:
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free at {out}"
    if free < LOW_DISK_GIB:
        remedy = "features of 10,000 tiles need 30 MB (1536-d, float16); choose another --out"
        return Check("disk", "warning", found, remedy)
    return Check("disk", "ok", found)


def _hub_token() -> Check:
    from huggingface_hub import get_token

    if get_token():
        return Check("hub token", "ok", "found")
    return Check(
        "hub token",
        "warning",
        "none",
        "gated encoders (UNI, GigaPath, ...) need one: `hf auth login`, or set HF_TOKEN",
    )


def _encoder_access(encoder: str) -> Check:
    name = f"encoder {encoder}"
    try:
        return Check(name, "ok", check_access(encoder))
    except SlidenetError as error:
        return Check(name, "problem", error.found, error.remedy or f"expected {error.expected}")


def _first_model() -> Check:
    """What to train first, by the number of slides: the question asked next."""
    return Check(
        "first model",
        "ok",
        "about 40 slides: crossval --model.network probe; 200: abmil or clam_sb, with the probes "
        "beside them; 2,000 and more: abmil, then transmil or longnet (docs/training.md)",
    )
