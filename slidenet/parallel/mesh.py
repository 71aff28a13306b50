"""Ranks on a grid of data x sequence: ranks of one row share a slide, rows see different slides.

The transport is NCCL for CUDA devices and gloo for CPUs; everything else is the same code.
"""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import ParallelError

DATA, SEQUENCE = "data", "sequence"
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
TIMEOUT_S = 300.0


def start_ranks(device_type: str | None = None, *, timeout_s: float = TIMEOUT_S) -> torch.device:
    """Joins the ranks that torchrun started, and picks this rank's device.

    Args:
        device_type: "cuda" or "cpu"; CUDA where there is one by default.
        timeout_s: A rank that waits longer than this for another ends with an error. Raise it if
            reading a slide may take one rank longer.

    Returns:
        The device of this rank.

    Raises:
        ParallelError: If torchrun did not start this process, or a device is missing.
    """
    kind = device_type or ("cuda" if torch.cuda.is_available() else "cpu")
    check_choice(BACKENDS, error=ParallelError, device_type=kind)
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= set(os.environ):
        raise ParallelError(
            "this process was not started as one of several ranks",
            expected="RANK, WORLD_SIZE, LOCAL_RANK and MASTER_ADDR in the environment",
            remedy="start it with: torchrun --nproc-per-node NUMBER_OF_GPUS ...",
        )
    local = int(os.environ["LOCAL_RANK"])
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise ParallelError(
                f"local rank {local} on a machine with {torch.cuda.device_count()} GPUs",
                expected="one GPU per rank",
                remedy=f"start with --nproc-per-node {max(torch.cuda.device_count(), 1)}",
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        dist.init_process_group(BACKENDS[kind], timeout=timedelta(seconds=timeout_s))
    return torch.device(kind, local) if kind == "cuda" else torch.device(kind)


def make_mesh(
    data: int | None = None, sequence: int | None = None, *, device_type: str | None = None
) -> DeviceMesh:
    """The grid of all ranks; a collective call.

    Args:
        data: Slides worked on at a time; what the sequence ranks leave by default.
        sequence: Ranks that share one slide; all by default.
        device_type: "cuda" or "cpu"; by the backend the ranks were started with by default.

    Returns:
        A mesh with the dimensions "data" and "sequence"; neighbouring ranks share a slide.

    Raises:
        ParallelError: On all ranks, if the grid does not hold exactly the ranks there are.
    """
    if not dist.is_initialized():
        raise ParallelError(
            "a mesh is asked for before the ranks have met",
            expected="a process group",
            remedy="call slidenet.parallel.start_ranks() first, under torchrun",
        )
    world = dist.get_world_size()
    check_whole(error=ParallelError, data=1 if data is None else data)
    check_whole(error=ParallelError, sequence=1 if sequence is None else sequence)
    rows = data if data is not None else world // (sequence or world)
    columns = sequence if sequence is not None else world // max(rows, 1)
    if rows * columns != world:
        raise ParallelError(
            f"a mesh of {rows} data x {columns} sequence ranks for {world} ranks",
            expected="data x sequence = number of ranks",
            remedy=f"start {max(rows * columns, 1)} ranks, or choose sizes that make {world}",
        )
    if device_type is None:
        device_type = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return init_device_mesh(device_type, (rows, columns), mesh_dim_names=(DATA, SEQUENCE))


def sequence_group(mesh: DeviceMesh) -> dist.ProcessGroup:
    """The ranks that share this rank's slide, in the order of its chunks.

    Args:
        mesh: One dimension, or several of which one is called "sequence".

    Raises:
        ParallelError: If this rank is not in the mesh, or it has no such dimension.
    """
    if mesh.get_coordinate() is None:
        raise ParallelError(
            f"rank {dist.get_rank()} is not in the mesh of {mesh.size()} ranks",
            expected=f"all {dist.get_world_size()} ranks in the mesh",
            remedy="make the mesh with slidenet.parallel.make_mesh",
        )
    if mesh.ndim == 1:
        return mesh.get_group()
    if SEQUENCE not in (mesh.mesh_dim_names or ()):
        raise ParallelError(
            f"a mesh with the dimensions {mesh.mesh_dim_names}",
            expected=f"one called {SEQUENCE!r}, or a single dimension",
            remedy="make the mesh with slidenet.parallel.make_mesh",
        )
    return mesh.get_group(SEQUENCE)


def data_rank(mesh: DeviceMesh) -> int:
    """Which slides this rank sees: its place along every dimension but the sequence."""
    rank = 0
    names = mesh.mesh_dim_names or ()
    for dim in range(mesh.ndim if mesh.ndim > 1 else 0):
        if names[dim] != SEQUENCE:
            rank = rank * mesh.size(dim) + mesh.get_local_rank(dim)
    return rank


def check_mesh(mesh: DeviceMesh) -> None:
    """Refuses a mesh that does not hold every rank there is.

    Raises:
        ParallelError: On all ranks.
    """
    if mesh.size() != dist.get_world_size():
        raise ParallelError(
            f"a mesh of {mesh.size()} ranks where {dist.get_world_size()} were started",
            expected="every rank in the mesh, or it would wait for the others without end",
            remedy=f"make the mesh for {dist.get_world_size()} ranks, or start {mesh.size()}",
        )
