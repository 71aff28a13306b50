"""Joining a Ray cluster, or starting one on this machine alone: silent, private, with clear errors.

Ray is imported here only, and late. A cluster of this machine listens on the loopback address, asks
for a token that nobody else knows, has no dashboard, and ends with this process.
"""

import atexit
import importlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from slidenet.core.errors import ConfigError, WorkerError
from slidenet.core.extras import require_extra
from slidenet.weights.device import available_cores

AUTO = "auto"
ANSWER_S = 10.0
OBJECTS_BYTES = 2 * 1024**3
"""Room for what workers hand each other: the work itself, and batches of tiles."""

_LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray takes 127.0.0.1 for its address where this is 0, and on Windows and macOS; elsewhere it puts
the address of the machine in the place of one that is asked for."""

RAY_ERRORS = (RuntimeError, ValueError, OSError, AssertionError)
"""Whatever Ray lacks when it starts or joins, it says so by exceptions of many kinds."""

_log = logging.getLogger(__name__)


@dataclass
class _Joined:
    """The cluster that this process is in."""

    ray: ModuleType
    address: str | None
    folder: str | None = None


_joined: _Joined | None = None
_joining = threading.Lock()


def import_ray() -> ModuleType:
    """Ray, which reports no usage.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return require_extra("ray", extra="ray", purpose="--runner ray")


def join(address: str | None) -> ModuleType:
    """The module of Ray, in the cluster at an address; the same one for every later call.

    Args:
        address: `host:port` of its head; "auto": the one that runs on this machine; None: start one
            on this machine alone, which ends with this process.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There is no such cluster, or it does not take this process.
        WorkerError: A cluster of this machine alone cannot be started.
    """
    global _joined
    check_address(address)
    with _joining, _own_signals():
        if _joined is None:
            _joined = _started_here() if address is None else _joined_at(address)
            atexit.register(leave)
        elif _joined.address != address:
            raise ConfigError(
                f"--address {address}, in a process that is in the cluster "
                f"{_joined.address or 'of this machine alone'}",
                expected="one cluster in a process",
                remedy="start another process",
            )
        return _joined.ray


def leave() -> None:
    """Leaves the cluster; one of this machine alone ends."""
    global _joined
    with _joining:
        if _joined is None:
            return
        _joined.ray.shutdown()
        if _joined.folder is not None:
            shutil.rmtree(_joined.folder, ignore_errors=True)
        _joined = None


def check_address(address: str | None) -> None:
    """Refuses what is no address.

    Raises:
        ConfigError: It is none.
    """
    if address in (None, AUTO):
        return
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})", address or "")
    if not found or not 0 < int(found[2]) < 65536:
        raise ConfigError(
            f"--address {address}",
            expected="HOST:PORT as `ray start --head` says it, or auto for a cluster that runs on "
            "this machine",
            remedy="leave it away to use this machine alone",
        )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps SIGTERM what it was: Ray takes it for itself, and ends without tidying up."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _joined_at(address: str) -> _Joined:
    """The cluster at an address, or the one that somebody else has joined before."""
    _check_answers(address)
    ray = import_ray()
    if not ray.is_initialized():
        _keep_off_stdout()
        try:
            ray.init(address=address, configure_logging=False, log_to_driver=False)
        except (*RAY_ERRORS, ray.exceptions.RayError) as error:
            raise refused(address, error) from error
    return _Joined(ray, address)


def _started_here() -> _Joined:
    """A cluster of this machine alone."""
    # Names of sockets must be short; folders for temporary files may be long.
    folder = tempfile.mkdtemp(prefix="slidenet-ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
    before = {name: os.environ.get(name) for name in (_LOOPBACK_ONLY, "RAY_ADDRESS")}
    os.environ[_LOOPBACK_ONLY] = "0"
    os.environ.pop("RAY_ADDRESS", None)
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray = import_ray()
    _read_environment_again()
    try:
        if not ray.is_initialized():
            _keep_off_stdout()
            ray.init(
                address="local",
                num_cpus=available_cores(),
                object_store_memory=OBJECTS_BYTES,
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                _temp_dir=folder,
                _node_ip_address="127.0.0.1",
            )
    except (*RAY_ERRORS, ray.exceptions.RayError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise WorkerError(
            f"Ray cannot be started on this machine ({_first_line(error)})",
            expected="room in /tmp and /dev/shm, and processes left",
            remedy="leave out --runner ray, or join a cluster with --address",
        ) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return _Joined(ray, None, folder)


def _read_environment_again() -> None:
    """Lets Ray see what it reads when it is imported, which others may have done before."""
    constants = vars(importlib.import_module("ray._private.ray_constants"))
    constants["ENABLE_RAY_CLUSTER"] = os.environ[_LOOPBACK_ONLY] != "0"
    compiled = importlib.import_module("ray._raylet")
    compiled.Config.initialize("")
    compiled.AuthenticationTokenLoader.instance().reset_cache()


def _keep_off_stdout() -> None:
    """Logs what Ray prints of workers that end: tables belong on stdout, and ends are told."""

    def logged(batch: Mapping[str, Any], *_: object, **__: object) -> None:
        for line in batch["lines"]:
            _log.debug("%s", line)

    vars(importlib.import_module("ray._private.worker"))["print_to_stdstream"] = logged


def _check_answers(address: str) -> None:
    """Ray would try for minutes where nobody listens.

    Raises:
        ConfigError: Nobody does.
    """
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise ConfigError(
            f"nobody answers at --address {address} ({error.strerror or error})",
            expected="the head of a Ray cluster",
            remedy="see the address that `ray start --head` has said, and whether a firewall lets "
            "this machine reach it",
        ) from error


def refused(address: str, error: Exception) -> ConfigError:
    """What the user is told where a cluster does not take this process.

    Args:
        address: Of the cluster.
        error: What Ray raised.
    """
    said = str(error)
    if "Version mismatch" in said:
        versions = re.findall(r"(Ray|Python): (\S+)", said)
        theirs, ours = versions[: len(versions) // 2], versions[len(versions) // 2 :]
        return ConfigError(
            f"the cluster at --address {address} runs {_versions(theirs)}, and this process "
            f"{_versions(ours)}",
            expected="the same versions of Ray and Python on all machines",
            remedy="install the same environment everywhere, and start the cluster anew",
        )
    if address == AUTO and isinstance(error, ConnectionError):
        return ConfigError(
            f"--address auto, and no Ray cluster runs on this machine ({_first_line(error)})",
            expected="a machine of a cluster",
            remedy="give --address HOST:PORT, or leave it away to use this machine alone",
        )
    return ConfigError(
        f"the cluster at --address {address} cannot be joined ({_first_line(error)})",
        expected="a Ray cluster that this machine is a part of, and its token",
        remedy=f"run `ray start --address {address}` on this machine (--num-cpus 0: no workers), "
        "with the versions and the token of the head (~/.ray/auth_token, RAY_AUTH_TOKEN)",
    )


def _versions(found: list[tuple[str, str]]) -> str:
    return " and ".join(f"{name} {version}" for name, version in found) or "other versions"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
